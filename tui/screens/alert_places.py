"""Where Enter on an alert leads: to the wallet, pair, chain, ledger or backups it is about.

What it was about may be there no more; then that is said, and the desk stays where it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from textual.screen import Screen

from core.api import AlertView
from tui import text
from tui.screens.base import DeskScreen


async def open_place(screen: DeskScreen, alert: AlertView) -> None:
    """Go to what the alert is about."""
    go = PLACES.get(alert.kind)
    if go is None or not await go(screen, alert):
        said = f"there is no page of {text.safe(alert.about)}: all that is known stands here"
        screen.say(said, severity="warning")


async def _wallet(screen: DeskScreen, alert: AlertView) -> bool:
    from tui.screens.wallet import WalletScreen

    if alert.about not in screen.session.model.agents:
        return False
    account = alert.account if alert.account in screen.session.model.rows else None
    screen.app.push_screen(WalletScreen(screen.desk, alert.about, account))
    return True


async def _pair(screen: DeskScreen, alert: AlertView) -> bool:
    from tui.screens.settlement import SettlementScreen

    pairs = [v for v in screen.session.settlements.values() if _is_about(alert, v.peer, v.token)]
    if not pairs:
        return False
    view = max(pairs, key=lambda each: each.stuck)  # of both sides the one that is stuck
    board = await _mode(screen, "settlement")
    if isinstance(board, SettlementScreen):
        board.show_pair((view.peer, view.token, view.direction))
    return True


def _is_about(alert: AlertView, peer: str, token: str) -> bool:
    return f"{peer}/{token}" == alert.about


async def _chain(screen: DeskScreen, alert: AlertView) -> bool:
    from tui.screens.endpoints import EndpointsScreen

    if alert.about not in {chain.name for chain in screen.session.chains}:
        return False
    endpoints = await _mode(screen, "endpoints")
    if isinstance(endpoints, EndpointsScreen):
        url = alert.message.partition(" is ")[0] if alert.kind == "endpoint-down" else ""
        endpoints.show_chain(alert.about, url)
    return True


async def _trial(screen: DeskScreen, alert: AlertView) -> bool:
    from tui.screens.trial import TrialScreen

    screen.app.push_screen(TrialScreen(screen.desk))
    return True


async def _backups(screen: DeskScreen, alert: AlertView) -> bool:
    await _mode(screen, "backups")
    return True


async def _mode(screen: DeskScreen, mode: str) -> Screen[object]:
    app = screen.app
    await app.switch_mode(mode)
    return app.screen


PLACES: Mapping[str, Callable[[DeskScreen, AlertView], Awaitable[bool]]] = {
    "balance-below": _wallet,
    "balance-drop": _wallet,
    "runway": _wallet,
    "custody-unexplained": _wallet,
    "settlement-stuck": _pair,
    "chain-stale": _chain,
    "chain-down": _chain,
    "endpoint-down": _chain,
    "trial-balance": _trial,
    "backup-overdue": _backups,
    "drill-overdue": _backups,
}
"""By kind of rule."""
