"""An agent's life on the Wallet screen: suspended, reactivated and archived with a reason, asked
twice; what the state does not allow is said."""

from __future__ import annotations

import msgspec
import pytest

from core.api import ChangeWallets
from core.model import WalletState
from tests.desk.driving import Desk, opened, with_options
from tests.desk.scripted import HOSTILE_AGENT, ScriptedEngine
from tui.screens.dialogs import Confirm, Form
from tui.screens.wallet import WalletScreen

AGENT = "agent-0006"


async def at_wallet(desk: Desk, agent: str = AGENT) -> WalletScreen:
    screen = WalletScreen(desk.app.desk, agent)
    await desk.app.push_screen(screen)
    await desk.pilot.pause(0.05)
    return screen


def owned(engine: ScriptedEngine) -> None:
    """The agent's keys are derived from our seed."""
    agent = engine._agents[AGENT]
    engine._agents[AGENT] = msgspec.structs.replace(agent, watch_only=False)


async def test_suspending_asks_why_and_once_more_and_is_shown_with_its_reason() -> None:
    async with opened(size=(120, 40), before=owned) as desk:
        await at_wallet(desk)
        assert "own keys" in desk.text()
        assert "path m/44'/60'/1'/0/6" in desk.text()
        await desk.press("s")
        assert "Suspend agent-0006" in desk.text()
        await desk.press("enter")  # nothing written yet
        assert isinstance(desk.app.screen, Form)
        await desk.type("key leaked")
        await desk.press("enter")
        assert isinstance(desk.app.screen, Confirm)
        assert "its balances are still read" in desk.text().lower()
        await desk.press("enter")  # the safe answer has the focus
        assert desk.engine.executed == []
        await desk.press("s")
        await desk.type("key leaked")
        await desk.press("enter", "right", "enter")
        assert desk.engine.executed == [ChangeWallets((AGENT,), "suspend", "key leaked")]
        await desk.tick(1)
        assert "SUSPENDED" in desk.text()
        assert "suspended 2026-11-20 11:04: key leaked" in desk.text()
        assert "ACTIVE -> SUSPENDED: key leaked" in desk.text()
        await desk.press("r")
        await desk.type("rotated")
        await desk.press("enter", "right", "enter")
        await desk.tick(1)
        assert "suspended 2026" not in desk.text()


async def test_an_archive_says_what_is_still_held_and_leaves_no_row() -> None:
    async with opened(size=(120, 40)) as desk:
        await at_wallet(desk)
        await desk.press("X")
        await desk.type("sold")
        await desk.press("enter")
        shown = " ".join(desk.text().replace("│", " ").split())
        assert "is ended for good" in shown
        assert "It still holds" in shown
        assert "Bursar moves no funds" in shown
        await desk.press("right", "enter")
        await desk.tick(1)
        assert "ARCHIVED" in desk.text()
        assert "no balance of this agent is read" in desk.text()
        assert AGENT not in desk.agents_shown()


@pytest.mark.parametrize(
    ("state", "key", "words"),
    [
        (WalletState.PENDING, "s", "is PENDING; `suspend` is for an agent that is ACTIVE"),
        (WalletState.ACTIVE, "r", "is ACTIVE; `reactivate` is for an agent that is SUSPENDED"),
        (WalletState.PENDING, "X", "`archive` is for an agent that is ACTIVE or SUSPENDED"),
        (WalletState.ARCHIVED, "X", "is ARCHIVED"),
    ],
)
async def test_what_the_state_does_not_allow_is_said(
    state: WalletState, key: str, words: str
) -> None:
    def before(engine: ScriptedEngine) -> None:
        engine._agents[AGENT] = msgspec.structs.replace(engine._agents[AGENT], state=state)

    async with opened(size=(120, 40), before=before) as desk:
        await at_wallet(desk)
        await desk.press(key)
        assert not isinstance(desk.app.screen, Form)
        assert any(words in toast for toast in desk.toasts()), desk.toasts()
        assert desk.engine.executed == []


async def test_a_read_only_desk_has_none_of_the_keys_and_help_names_them_elsewhere() -> None:
    async with opened(options=with_options(read_only=True)) as desk:
        await at_wallet(desk)
        await desk.press("s", "X", "r")
        assert isinstance(desk.app.screen, WalletScreen)
        assert desk.engine.executed == []
        await desk.press("question_mark")
        assert "Archive for good" not in desk.text()
    async with opened(size=(100, 60)) as desk:
        await at_wallet(desk)
        await desk.press("question_mark")
        for words in ("Suspend", "Reactivate", "Archive for good"):
            assert words in desk.text()


async def test_a_refusal_is_shown_and_a_hostile_name_is_only_text() -> None:
    async with opened(size=(120, 40)) as desk:
        await at_wallet(desk, HOSTILE_AGENT)
        desk.engine.refuse = "The audit log cannot be written."
        await desk.press("s")
        assert "Suspend [red]evil[/red]" in desk.text()
        await desk.type("x")
        await desk.press("enter")
        assert "[red]evil[/red]" in desk.text()
        await desk.press("right", "enter")
        assert "The audit log cannot be written." in desk.toasts()[-1]
