"""Changing an agent's life from the desk: a reason, then the question once more, then the command.

What the state does not allow is said at once and asks for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.api import ChangeWallets
from core.model import Agent, WalletState
from tui import text
from tui.fleet_row import FleetRow
from tui.screens.base import DeskScreen
from tui.screens.forms import FormError

_FROM: Mapping[str, tuple[WalletState, ...]] = {
    "suspend": (WalletState.ACTIVE,),
    "reactivate": (WalletState.SUSPENDED,),
    "archive": (WalletState.ACTIVE, WalletState.SUSPENDED),
}
_MEANS = {
    "suspend": "is taken out of service. Its balances are still read, and it can be reactivated.",
    "reactivate": "is put back into service.",
    "archive": (
        "is ended for good: its balances are not read any more, and its name and addresses are "
        "never used again."
    ),
}


async def change_life(
    screen: DeskScreen, agent: Agent, change: str, rows: Sequence[FleetRow]
) -> None:
    """Ask why, then once more, and suspend, reactivate or archive the agent."""
    from tui.screens.dialogs import Confirm, Field, Form

    name = text.safe(agent.id)
    if agent.state not in _FROM[change]:
        allowed = " or ".join(state.value for state in _FROM[change])
        screen.say(
            f"{name} is {agent.state.value}; `{change}` is for an agent that is {allowed}",
            severity="warning",
        )
        return

    def build(values: Mapping[str, str]) -> tuple[ChangeWallets, str]:
        if not values["reason"]:
            raise FormError("write why; it is kept with the change and audited")
        return ChangeWallets((agent.id,), change, values["reason"]), f"{name} {_MEANS[change]}"

    title = f"{change.capitalize()} {name}"
    command = await screen.app.push_screen_wait(
        Form(title, [Field("reason", "reason")], build, "Go on")
    )
    if command is None:
        return
    said = f"{name} {_MEANS[change]}"
    if change == "archive" and (held := _held(rows)):
        said += f"\n\nIt still holds {held}. Bursar moves no funds: sweep them before."
    said += f"\n\nReason: {text.safe(command.reason)}"
    is_dangerous = change == "archive"
    confirm = Confirm(f"{title}?", said, change.capitalize(), dangerous=is_dangerous)
    if await screen.app.push_screen_wait(confirm):
        await screen.give(command)


def _held(rows: Sequence[FleetRow]) -> str:
    """What an agent holds, in words; "" where nothing is known of."""
    return ", ".join(
        f"{text.exact(row.view.amount, row.asset.decimals)} {text.symbol(row.symbol)} on "
        f"{text.safe(row.chain)}"
        for row in rows
        if row.view.amount
    )
