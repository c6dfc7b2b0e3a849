"""Agents' wallets: created from the seed's account keys, imported, looked up.

Creating needs no password: indices are reserved in the database, addresses derived from the
account xpubs, and agents registered with the path each address lies at. An imported address that
claims a path must be what lies there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from core.chains.addresses import AddressError, parse_address
from core.events import AgentRegistered, Bus, Event, EventRecord
from core.model import BursarError, ChainKind, Clock, NoWallet, WalletState
from core.store.wallet_protocol import AgentWallet, WalletAddress, WalletStore
from core.wallets.accounts import Accounts
from core.wallets.derivation import (
    Claim,
    Derived,
    Deriver,
    Mismatch,
    Progress,
    batch_derive,
    check_claims,
)

_LONGEST_NAME = 120


class WalletRefusedError(BursarError):
    """Wallets cannot be created or imported as asked; nothing was written."""


class AgentWallets:
    """The wallets of one store. `accounts` reads the account keys (`SeedVault.accounts`); it is
    called in a thread, each time they are needed."""

    def __init__(
        self, store: WalletStore, accounts: Callable[[], Accounts], clock: Clock, bus: Bus
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._clock = clock
        self._bus = bus

    async def get_agent_wallet(self, agent: str) -> AgentWallet:
        """One agent's wallet, archived or not. Raises NoWallet."""
        wallet = await self._store.wallet(agent)
        if wallet is None:
            raise NoWallet(f"No wallet for agent {agent}.")
        return wallet

    async def get_all_wallets(self) -> list[AgentWallet]:
        """Every agent's wallet, archived ones included, by name."""
        return await self._store.wallets()

    async def get_wallet_by_address(self, address: str, chain: str | None = None) -> AgentWallet:
        """The wallet that has this address, written in any way its chain's kind allows, on any
        chain or on `chain`. Raises NoWallet; WalletRefusedError where several agents have it."""
        forms = _forms(address)
        found: dict[str, AgentWallet] = {}
        for form in forms.values():
            for wallet in await self._store.wallets_by_address(form, form.lower()):
                if chain is None or any(
                    a.chain == chain and a.address == forms.get(a.kind) for a in wallet.addresses
                ):
                    found[wallet.agent] = wallet
        if not found:
            where = f" on {chain}" if chain else ""
            raise NoWallet(f"No wallet has the address {address.strip()[:80]}{where}.")
        if len(found) > 1:
            raise WalletRefusedError(
                f"{address.strip()[:80]} belongs to {', '.join(sorted(found))}, on different "
                "chains; name the chain."
            )
        return found.popitem()[1]

    async def batch_derive(
        self, first: int, count: int, kinds: Sequence[ChainKind], progress: Progress | None = None
    ) -> list[Derived]:
        """The addresses of `count` indices from `first` on; nothing is written. Raises
        DerivationError, AccountsError."""
        deriver = await self._deriver()
        return await batch_derive(deriver, kinds, range(first, first + count), progress)

    async def create(
        self,
        count: int,
        *,
        prefix: str = "agent",
        chains: Sequence[str] = (),
        group: str = "",
        tags: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> list[AgentWallet]:
        """New agents `<prefix>-00042`, numbered by their index, with an address on each of
        `chains` (none: on every one that is followed). Raises WalletRefusedError, AccountsError,
        AgentPresentError, StoreError."""
        if count < 1:
            raise WalletRefusedError(f"{count} agents cannot be created; ask for 1 or more.")
        return await self._create(
            count, lambda _, index: f"{prefix}-{index:05d}", chains, group, tags, progress
        )

    async def create_named(
        self,
        names: Sequence[str],
        *,
        chains: Sequence[str] = (),
        group: str = "",
        tags: Sequence[str] = (),
        progress: Progress | None = None,
    ) -> list[AgentWallet]:
        """New agents of these names; otherwise as `create`."""
        if not names or len(set(names)) != len(names):
            raise WalletRefusedError("Give at least one name, and each only once.")
        return await self._create(
            len(names), lambda place, _: names[place], chains, group, tags, progress
        )

    async def import_wallet(self, wallet: AgentWallet) -> None:
        """Register a wallet from elsewhere as it is given. Raises as `import_wallets`."""
        await self.import_wallets([wallet])

    async def import_wallets(
        self, wallets: Sequence[AgentWallet], progress: Progress | None = None
    ) -> None:
        """Register wallets as they are given, all or none, and never hand out their indices.

        Raises WalletRefusedError for an address that is none or does not lie at its path,
        AgentPresentError, DuplicateWalletError, AccountsError.
        """
        checked = [_normalised(wallet) for wallet in wallets]
        claims = claims_of(checked)
        if claims:
            deriver = await self._deriver()
            wrong = await check_claims(deriver, claims, progress)
            if wrong:
                raise WalletRefusedError(
                    f"{len(wrong)} of {len(claims)} addresses are not this seed's, the first: "
                    f"{wrong[0].reason}. Nothing was imported."
                )
            below = max((w.index for w in checked if w.index is not None), default=-1) + 1
            await self._store.skip_indices(deriver.accounts.fingerprint, below)
        self._publish(await self._store.create_wallets(checked, self._registered(checked)))

    async def check_addresses(self, progress: Progress | None = None) -> list[Mismatch]:
        """Re-derive every derived address of the store; those that are not the seed's. Raises
        AccountsError, StoreError."""
        claims = claims_of(await self._store.wallets())
        return await check_claims(await self._deriver(), claims, progress) if claims else []

    async def _create(
        self,
        count: int,
        name: Callable[[int, int], str],
        chains: Sequence[str],
        group: str,
        tags: Sequence[str],
        progress: Progress | None,
    ) -> list[AgentWallet]:
        on = await self._chains(chains)
        deriver = await self._deriver()
        kinds = tuple(dict.fromkeys(on.values()))
        for kind in kinds:
            deriver.accounts.current(kind)  # refuse before an index is spent
        _refuse_names([name(place, 0) for place in range(count)], group, tags)
        first = await self._store.take_indices(deriver.accounts.fingerprint, count)
        derived = await batch_derive(deriver, kinds, range(first, first + count), progress)
        by_place = {(d.index, d.kind): d for d in derived}
        now_ms = self._clock.now_ms()
        wallets = [
            AgentWallet(
                agent=name(place, first + place),
                addresses=tuple(
                    WalletAddress(chain, kind, at.address, at.path)
                    for chain, kind in on.items()
                    for at in (by_place[first + place, kind],)
                ),
                group=group,
                tags=tuple(tags),
                state=WalletState.PENDING,
                watch_only=False,
                created_ms=now_ms,
            )
            for place in range(count)
        ]
        self._publish(await self._store.create_wallets(wallets, self._registered(wallets)))
        return wallets

    async def _chains(self, names: Sequence[str]) -> dict[str, ChainKind]:
        registry = await self._store.registry()
        active = {chain.name: chain.kind for chain in registry.chains if chain.is_active}
        unknown = next((name for name in names if name not in active), None)
        if unknown is not None or not active:
            known = ", ".join(sorted(active)) or "none is configured"
            raise WalletRefusedError(f"There is no chain {unknown or ''!r} (known: {known}).")
        return {name: active[name] for name in sorted(names or active)}

    async def _deriver(self) -> Deriver:
        return Deriver(await asyncio.to_thread(self._accounts))

    def _registered(self, wallets: Sequence[AgentWallet]) -> list[Event]:
        now_ms = self._clock.now_ms()
        return [
            AgentRegistered(
                timestamp=now_ms, agent_id=wallet.agent, chain=a.chain, address=a.address
            )
            for wallet in wallets
            for a in wallet.addresses
        ]

    def _publish(self, records: Sequence[EventRecord]) -> None:
        if records:
            self._bus.publish(records[-1].seq)


def claims_of(wallets: Sequence[AgentWallet]) -> list[Claim]:
    """What has to be derived again to know that these wallets are the seed's."""
    return [Claim(a.kind, a.address, a.path) for w in wallets for a in w.addresses if a.path]


def _forms(address: str) -> dict[ChainKind, str]:
    """The text as each kind of chain would store it, where it could be an address there."""
    forms = {}
    for kind in ChainKind:
        try:
            forms[kind] = parse_address(kind, address)
        except AddressError:
            continue  # not of this kind; where it is of none, nothing is found and that is said
    return forms


def _normalised(wallet: AgentWallet) -> AgentWallet:
    if not wallet.addresses:
        raise WalletRefusedError(f"{wallet.agent} has no address; nothing was imported.")
    if wallet.watch_only == any(a.path for a in wallet.addresses):
        what = "is watch-only and has a" if wallet.watch_only else "is not watch-only and has no"
        raise WalletRefusedError(f"{wallet.agent} {what} derivation path; nothing was imported.")
    _refuse_names([wallet.agent], wallet.group, wallet.tags)
    try:
        addresses = tuple(
            msgspec.structs.replace(a, address=parse_address(a.kind, a.address))
            for a in wallet.addresses
        )
    except AddressError as error:
        raise WalletRefusedError(f"{wallet.agent}: {error}; nothing was imported.") from error
    return msgspec.structs.replace(wallet, addresses=addresses)


def _refuse_names(agents: Sequence[str], group: str, tags: Sequence[str]) -> None:
    named = [("agent", a) for a in agents] + [("tag", t) for t in tags]
    for what, name in named + ([("group", group)] if group else []):
        if not name or len(name) > _LONGEST_NAME or not name.isprintable() or name != name.strip():
            raise WalletRefusedError(
                f"The {what} {name[:40]!r} cannot be used: 1 to {_LONGEST_NAME} printable "
                "characters, no space at the ends. Nothing was written."
            )
