"""Which account is meant: by agent, chain, and the symbol or contract of an asset. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from core.model import Account, Asset


class AccountNames:
    """The accounts of a registry by what people and events call them."""

    def __init__(self, accounts: Iterable[Account], assets: Mapping[int, Asset]) -> None:
        self._assets = assets
        self._by_agent: dict[str, list[Account]] = {}
        self._named: dict[tuple[str, str, str], int | None] = {}  # None: several are meant
        for account in accounts:
            asset = assets[account.asset]
            self._by_agent.setdefault(account.agent, []).append(account)
            symbol, contract = asset.symbol, asset.contract or asset.symbol
            for word in {symbol, contract, symbol.casefold(), contract.casefold()}:
                key = (account.agent, account.chain, word)
                self._named[key] = None if key in self._named else account.id
        for owned in self._by_agent.values():
            owned.sort(key=self._order)

    def _order(self, account: Account) -> tuple[bool, str, str, int]:
        asset = self._assets[account.asset]
        return not asset.is_native, asset.chain, asset.symbol, account.id

    def of(self, agent: str) -> Sequence[Account]:
        """The agent's accounts: natives first, then by chain and symbol."""
        return self._by_agent.get(agent, ())

    def find(self, agent: str, chain: str, asset: str) -> int | None:
        """By symbol or contract; case counts only where two differ by nothing else. None when
        there is none, or when several are meant (an XRPL issuer of two currencies)."""
        exact = self._named.get((agent, chain, asset))
        return exact if exact is not None else self._named.get((agent, chain, asset.casefold()))

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
