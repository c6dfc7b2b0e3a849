"""Which account is meant: by agent, chain, and the symbol or contract of an asset. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from core.model import Account, Asset


class AccountNames:
    """The accounts of a registry by what people and events call them."""

    def __init__(self, accounts: Iterable[Account], assets: Mapping[int, Asset]) -> None:
        self._assets = assets
        # By chain and word: words belong to assets, of which there are few, not to accounts.
        self._meant: dict[tuple[str, str], tuple[int, ...]] = {}
        for asset in assets.values():
            symbol, contract = asset.symbol, asset.contract or asset.symbol
            for word in {symbol, contract, symbol.casefold(), contract.casefold()}:
                key = (asset.chain, word)
                self._meant[key] = (*self._meant.get(key, ()), asset.id)
        by_agent: dict[str, list[Account]] = {}
        for account in accounts:
            by_agent.setdefault(account.agent, []).append(account)
        self._of: dict[str, tuple[Account, ...]] = {}
        for agent in list(by_agent):
            owned = by_agent.pop(agent)
            owned.sort(key=self._order)
            self._of[agent] = tuple(owned)

    def _order(self, account: Account) -> tuple[bool, str, str, int]:
        asset = self._assets[account.asset]
        return not asset.is_native, asset.chain, asset.symbol, account.id

    def of(self, agent: str) -> Sequence[Account]:
        """The agent's accounts: natives first, then by chain and symbol."""
        return self._of.get(agent, ())

    def find(self, agent: str, chain: str, asset: str) -> int | None:
        """By symbol or contract; case counts only where two differ by nothing else. None when
        there is none, or when several are meant (an XRPL issuer of two currencies)."""
        exact = self._only(agent, self._meant.get((chain, asset), ()))
        if exact is not None:
            return exact
        return self._only(agent, self._meant.get((chain, asset.casefold()), ()))

    def _only(self, agent: str, assets: tuple[int, ...]) -> int | None:
        if not assets:
            return None
        held = [account.id for account in self._of.get(agent, ()) if account.asset in assets]
        return held[0] if len(held) == 1 else None

    def find_told(self, agent: str, chain: str, token: str, contract: str | None) -> int | None:
        """The account an event speaks of; a symbol may have been renamed since."""
        found = None
        for account in self.of(agent):
            asset = self._assets[account.asset]
            if asset.chain == chain and asset.contract == contract:
                if asset.symbol == token:
                    return account.id
                found = account.id
        return found
