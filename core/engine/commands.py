"""What operators' commands mean: checked here against the registry, written by the store.

Each function turns a command into what the store is to write, or refuses it in words; none
does I/O, so that a refused command has changed nothing by construction.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from core.api import CommandRefusedError, ImportWallets, SetLimits, TagAgents, WalletRow
from core.chains.addresses import AddressError, parse_address
from core.events import AgentRegistered, AgentTagged, Event, LimitsChanged
from core.model import Agent, Amount, Asset
from core.store.protocol import Limit, NewWallet, Registry

LONGEST_NAME = 120


class WalletsToAdd(msgspec.Struct, frozen=True):
    """Rows for the store, and the event of each."""

    wallets: tuple[NewWallet, ...]
    events: tuple[Event, ...]
    chains: tuple[str, ...]


def wallets_to_add(command: ImportWallets, registry: Registry, now_ms: int) -> WalletsToAdd:
    """Check every row; refuses all of them for one that is wrong, naming its line or place."""
    kinds = {chain.name: chain.kind for chain in registry.chains if chain.is_active}
    known = {(a.agent, a.chain): a.address for a in registry.accounts}
    owners = {(a.chain, a.address): a.agent for a in registry.accounts}
    if not command.rows:
        raise CommandRefusedError("There is no address in this import.")
    wallets = []
    for number, row in enumerate(command.rows, start=1):
        where = f"line {row.line}: " if row.line else (f"row {number}: " if number > 1 else "")
        if row.chain not in kinds:
            names = ", ".join(sorted(kinds)) or "none is configured"
            raise CommandRefusedError(f"{where}there is no chain {row.chain!r} (known: {names}).")
        _refuse_name(row.agent, f"{where}agent")
        try:
            address = parse_address(kinds[row.chain], row.address)
        except AddressError as error:
            raise CommandRefusedError(f"{where}{error}") from error
        if (row.agent, row.chain) in known:
            raise CommandRefusedError(
                f"{where}agent {row.agent} already has {known[row.agent, row.chain]} on "
                f"{row.chain}."
            )
        if (row.chain, address) in owners:
            raise CommandRefusedError(
                f"{where}{address} on {row.chain} already belongs to agent "
                f"{owners[row.chain, address]}."
            )
        known[row.agent, row.chain] = address
        owners[row.chain, address] = row.agent
        wallets.append(_wallet(row, address))
    events = tuple(
        AgentRegistered(timestamp=now_ms, agent_id=w.agent, chain=w.chain, address=w.address)
        for w in wallets
    )
    return WalletsToAdd(tuple(wallets), events, tuple(dict.fromkeys(w.chain for w in wallets)))


def _wallet(row: WalletRow, address: str) -> NewWallet:
    return NewWallet(row.agent, row.chain, address, row.group, _clean_tags(row.tags))


def agents_to_tag(
    command: TagAgents, registry: Registry, now_ms: int
) -> tuple[tuple[Agent, ...], tuple[Event, ...]]:
    """The agents as they are to be; only those that change, with the event of each."""
    by_id = {agent.id: agent for agent in registry.agents}
    unknown = [name for name in command.agents if name not in by_id]
    if unknown:
        raise CommandRefusedError(f"There is no agent {unknown[0]!r}; nothing was tagged.")
    if not command.agents:
        raise CommandRefusedError("Name at least one agent.")
    if command.group is None and not command.add and not command.remove:
        raise CommandRefusedError("Give a group, or tags to add or remove.")
    if command.group:
        _refuse_name(command.group, "group")
    changed = []
    for name in dict.fromkeys(command.agents):
        old = by_id[name]
        kept = [tag for tag in old.tags if tag not in command.remove]
        tags = _clean_tags((*kept, *command.add))
        group = old.group if command.group is None else command.group
        new = msgspec.structs.replace(old, group=group, tags=tags)
        if new != old:
            changed.append(new)
    events = tuple(
        AgentTagged(timestamp=now_ms, agent_id=a.id, group=a.group, tags=a.tags) for a in changed
    )
    return tuple(changed), events


def limit_to_set(
    command: SetLimits, registry: Registry, now_ms: int
) -> tuple[Limit, Asset, tuple[Event, ...]]:
    """The limit for the store, its asset and its event."""
    if command.scope not in {"group", "agent"}:
        raise CommandRefusedError(f"A limit is for a group or an agent, not for {command.scope!r}.")
    asset = find_asset(registry.assets, command.chain, command.asset)
    if asset is None:
        raise CommandRefusedError(f"There is no asset {command.asset} on chain {command.chain}.")
    names = {a.id if command.scope == "agent" else a.group for a in registry.agents}
    if command.key not in names or not command.key:
        raise CommandRefusedError(f"There is no {command.scope} {command.key!r}.")
    for word, amount in (("floor", command.floor), ("target", command.target)):
        if amount is not None and amount < 0:
            raise CommandRefusedError(f"The {word} must not be negative.")
    if command.floor is not None and command.target is not None and command.target < command.floor:
        raise CommandRefusedError("The target must not be below the floor.")
    event = LimitsChanged(
        timestamp=now_ms,
        scope=command.scope,
        key=command.key,
        chain=asset.chain,
        token=asset.symbol,
        floor=None if command.floor is None else Amount(command.floor),
        target=None if command.target is None else Amount(command.target),
    )
    limit = Limit(command.scope, command.key, asset.id, command.floor, command.target)
    return limit, asset, (event,)


def find_asset(assets: Sequence[Asset], chain: str, name: str) -> Asset | None:
    """The asset of a chain by symbol or contract (case does not count). Refuses a name that
    several share, such as an XRPL issuer of two currencies."""
    wanted = name.casefold()
    here = [asset for asset in assets if asset.chain == chain]
    found = [a for a in here if a.symbol.casefold() == wanted] or [
        a for a in here if a.contract is not None and a.contract.casefold() == wanted
    ]
    if len(found) > 1:
        choices = ", ".join(f"{a.symbol} {a.contract or 'native'}" for a in found)
        raise CommandRefusedError(f"{name} on chain {chain} can mean {choices}; name one exactly.")
    return found[0] if found else None


def _clean_tags(tags: Sequence[str]) -> tuple[str, ...]:
    cleaned = tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
    for tag in cleaned:
        _refuse_name(tag, "tag")
    return cleaned


def _refuse_name(name: str, what: str) -> None:
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise CommandRefusedError(
            f"{what} {name[:40]!r} cannot be used: 1 to {LONGEST_NAME} printable characters, "
            "no space at the ends."
        )
