"""One row of the fleet: an account's newest view beside what the registry says about it.

A row is what the filter asks, the order compares and the table draws. How old it is comes from
its chain as well: one sweep stamps all rows that have no error, without touching any of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from core.api import BalanceView, ChainState
from core.model import Agent, Asset, Severity, WalletState
from tui import text


class ChainLine:
    """A chain's newest state, shared by all its rows: a sweep moves every row's age at once."""

    __slots__ = ("state",)

    def __init__(self, state: ChainState) -> None:
        self.state = state


class FleetRow(msgspec.Struct, gc=False, eq=False):
    """One row: an account's newest view with what the registry says about it.

    `version` is another one whenever anything shown of the row changed, age aside, and not one it
    had before. `rank` and `key` are the order's.
    """

    view: BalanceView
    asset: Asset
    agent_view: Agent
    line: ChainLine
    version: int
    rank: int = 0
    key: int = 0
    words: str = ""

    @property
    def account(self) -> int:
        """The row's id everywhere."""
        return self.view.account

    @property
    def agent(self) -> str:
        return self.view.agent

    @property
    def chain(self) -> str:
        return self.view.chain

    @property
    def symbol(self) -> str:
        return self.asset.symbol

    @property
    def contract(self) -> str | None:
        return self.asset.contract

    @property
    def address(self) -> str:
        return self.view.address

    @property
    def group(self) -> str:
        return self.agent_view.group

    @property
    def tags(self) -> Sequence[str]:
        return self.agent_view.tags

    @property
    def state(self) -> WalletState:
        return self.agent_view.state

    @property
    def severity(self) -> Severity:
        return self.view.severity

    @property
    def decimals(self) -> int:
        return self.asset.decimals

    @property
    def amount(self) -> int | None:
        return self.view.amount

    @property
    def change_1h(self) -> int | None:
        return self.view.change_1h

    @property
    def change_24h(self) -> int | None:
        return self.view.change_24h

    @property
    def runway_s(self) -> int | None:
        return self.view.runway_s

    @property
    def checked_ms(self) -> int:
        """When the shown figure was last known to hold (ms, 0: never): a failed read leaves it
        where it was, a sweep of the chain moves it for every row that has no error."""
        view = self.view
        if view.error or view.amount is None:
            return view.checked_ms
        return max(view.checked_ms, self.line.state.swept_ms)

    @property
    def search(self) -> str:
        """Everything textual of the row, lower-case, for plain words of a filter."""
        if not self.words:
            view, agent = self.view, self.agent_view
            words = (view.agent, view.address, view.chain, self.asset.symbol, self.asset.name)
            state = agent.state.value
            self.words = "\n".join((*words, agent.group, *agent.tags, state)).lower()
        return self.words

    def is_stale(self, now_ms: int) -> bool:
        """Whether the figure is an old one: its read failed, or none came for two intervals."""
        return bool(self.view.error) or (
            now_ms - self.checked_ms >= 2 * self.line.state.interval_ms
        )

    def reason(self, now_ms: int) -> str:
        """Why the row is not all right, in words; "" where it is."""
        why = text.reason(self.view, self.checked_ms, now_ms)
        chain = self.line.state
        if chain.state == "live" or not self.is_stale(now_ms):
            return why
        said = f"{chain.name} {text.chain_words(chain, now_ms)}: {text.safe(chain.reason)}"
        return " · ".join(part for part in (why, said.removesuffix(": ")) if part)

    def forget_words(self) -> None:
        """Registry words changed: the search text is made anew when it is next asked for."""
        self.words = ""
