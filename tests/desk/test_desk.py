"""The desk as a whole: modes, badges, read-only, remapped keys, palette, help, and bad days."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import RenderableType
from textual.color import Color
from textual.screen import Screen
from textual.widgets import Button, Input

from core.api import EngineApi, StoreHealth
from core.model import Amount, BursarError, Severity
from tests.desk.driving import Desk, opened, with_options
from tests.desk.scripted import HOSTILE_AGENT, ManualClock
from tui.app import BursarApp
from tui.screens.base import DeskScreen
from tui.screens.dialogs import Confirm
from tui.screens.fleet import FleetScreen
from tui.screens.help import HelpScreen
from tui.screens.wallet import WalletScreen
from tui.session import Phase

WRITING = ("ctrl+r", "a", "t", "f")


async def test_the_digits_of_the_spec_go_to_the_modes_there_are() -> None:
    async with opened() as desk:
        paths = []
        for key in ("5", "6", "1", "2", "3", "4"):
            await desk.press(key)
            paths.append(desk.screen.PATH)
        assert paths[:3] == [("Endpoints",), ("Events",), ("Fleet",)]
        assert paths[3:] == [("Settlement",), ("Ledger",), ("Backups",)]


async def test_space_pauses_the_display_and_not_the_engine() -> None:
    async with opened() as desk:
        await desk.press("space")
        assert "paused" in desk.text()
        row = desk.engine.row_of("agent-0001", 3)
        loud = msgspec.structs.replace(row, severity=Severity.PROBLEM, problem="gone")
        desk.engine.push(balances=(loud,))
        await desk.tick(3)
        assert "✗3" in desk.text()
        await desk.press("space")
        assert "✗4" in desk.text()
        assert "live 1s" in desk.text()


async def test_plus_and_minus_change_the_rate_of_this_display() -> None:
    async with opened() as desk:
        await desk.press("plus")
        assert "live 500ms" in desk.text()
        await desk.press("minus", "minus")
        assert "live 2s" in desk.text()


async def test_slow_and_safe_desks_draw_every_five_seconds() -> None:
    async with opened(options=with_options(slow=True)) as desk:
        assert "live 5s" in desk.text()


async def test_a_safe_desk_is_ascii_on_every_screen() -> None:
    async with opened(size=(140, 40), options=with_options(safe=True)) as desk:
        wide = {"代", "理", "東", "京"}
        for keys in ((), ("5",), ("6",), ("1", "question_mark")):
            await desk.press(*keys)
            extra = {c for c in desk.text() if ord(c) > 127} - wide - set("╭╮╰╯─│┃━┏┓┗┛▏▕▔▁")
            assert not {c for c in extra if c not in "▄▅▆▇▃▂█"}, (keys, extra)


async def test_badges_say_environment_read_only_and_demo() -> None:
    async with opened(options=with_options(read_only=True), environment="production") as desk:
        assert desk.lines()[1].strip("┃ ").startswith("bursar PROD RO")
        assert desk.screen.styles.border_top[0] == "heavy"
        red = desk.screen.styles.border_top[1]
        assert isinstance(red, Color)
        assert red.r > 200 > 2 * red.g - 20
    async with opened(environment="demo", demo=True) as desk:
        assert desk.lines()[0].startswith(" bursar DEMO │")
    async with opened(environment="staging", demo=True) as desk:
        assert desk.lines()[0].startswith(" bursar staging DEMO")
        assert not desk.screen.styles.border_top[0]


async def test_a_read_only_desk_has_no_key_that_writes() -> None:
    async with opened(size=(120, 40), options=with_options(read_only=True)) as desk:
        for opening in ((), ("enter",), ("escape", "5"), ("6",)):
            await desk.press(*opening)
            assert not {"ctrl+r", "a", "t"} & desk.app.screen.active_bindings.keys()
            ids = {b.binding.id for b in desk.app.screen.active_bindings.values()}
            assert not ids & {"sync.now", "fleet.watch", "fleet.tag", "fleet.limits"}
            await desk.press("ctrl+r", "a", "t")
            assert isinstance(desk.app.screen, DeskScreen)
        assert desk.engine.executed == []
        await desk.press("1", "question_mark")
        assert "Watch an address" not in desk.text()
        await desk.press("escape", "colon")
        await desk.type("watch")
        await desk.pilot.pause(0.3)
        assert "watch an address" not in desk.text()


async def test_keys_are_remapped_by_id_and_shown_by_their_new_name() -> None:
    keymap = {"fleet.problems": "p", "mode.events": "f6"}
    async with opened(options=with_options(keymap=keymap)) as desk:
        assert "p problems" in desk.text()
        await desk.press("exclamation_mark")
        assert not desk.model.problems_only
        await desk.press("p")
        assert desk.model.problems_only
        await desk.press("f6")
        assert desk.screen.PATH == ("Events",)


async def test_a_key_given_twice_is_said_once() -> None:
    async with opened(options=with_options(keymap={"sort.reverse": "c"})) as desk:
        await desk.press("j", "k", "j")
        said = [toast for toast in desk.toasts() if "twice" in toast]
        assert len(said) <= 1


async def test_every_binding_of_every_screen_has_an_id_of_its_own() -> None:
    async with opened(size=(120, 40)) as desk:
        for keys in ((), ("enter",), ("escape", "5"), ("6",)):
            await desk.press(*keys)
            owners: dict[str, str] = {}
            for active in desk.app.screen.active_bindings.values():
                if active.node is desk.app.screen or active.node is desk.app:
                    binding = active.binding
                    if binding.key in ("ctrl+q", "ctrl+c", "ctrl+p", "tab", "shift+tab"):
                        continue
                    if binding.id is None:
                        assert binding.key in ("super+c",), binding
                        continue
                    assert owners.setdefault(binding.id, binding.action) == binding.action


async def test_the_palette_goes_to_modes_agents_and_themes() -> None:
    async with opened(size=(120, 40)) as desk:
        await desk.press("colon")
        await desk.type("go to endp")
        await desk.pilot.pause(0.4)
        await desk.press("enter")
        await desk.pilot.pause(0.2)
        assert desk.screen.PATH == ("Endpoints",)
        await desk.press("ctrl+p")
        await desk.type("agent-0031")
        await desk.pilot.pause(0.4)
        await desk.press("enter")
        await desk.pilot.pause(0.2)
        assert isinstance(desk.app.screen, WalletScreen)
        assert desk.app.screen.agent == "agent-0031"
        await desk.press("ctrl+p")
        await desk.type("theme bursar-light")
        await desk.pilot.pause(0.4)
        await desk.press("enter")
        await desk.pilot.pause(0.2)
        assert desk.app.theme == "bursar-light"


async def test_the_palette_offers_no_picture_of_the_screen() -> None:
    async with opened(size=(120, 40)) as desk:
        await desk.press("colon")
        await desk.type("screenshot")
        await desk.pilot.pause(0.4)
        assert "screenshot" not in desk.text().lower().replace("screenshot", "", 1)


async def test_a_hostile_agent_in_the_palette_is_plain_text() -> None:
    async with opened(size=(120, 40)) as desk:
        await desk.press("colon")
        await desk.type("evil")
        await desk.pilot.pause(0.4)
        assert "wallet [red]evil[/red]gnp" in desk.text()
        await desk.press("enter")
        await desk.pilot.pause(0.2)
        assert isinstance(desk.app.screen, WalletScreen)
        assert desk.app.screen.agent == HOSTILE_AGENT


async def test_help_lists_the_keys_of_the_screen_it_came_from() -> None:
    async with opened(size=(120, 80)) as desk:
        await desk.press("question_mark")
        assert isinstance(desk.app.screen, HelpScreen)
        for words in ("Freeze the order", "Next problem", "Endpoints", "runway<1h"):
            assert words in desk.text()
        await desk.press("j", "k", "escape", "5", "question_mark")
        assert "Copy url" in desk.text()
        assert "Freeze the order" not in desk.text()
        await desk.press("q")
        assert isinstance(desk.app.screen, DeskScreen)


async def test_a_click_on_the_line_of_keys_presses_the_key() -> None:
    async with opened() as desk:
        line = desk.lines()[-1]
        await desk.pilot.click(offset=(line.index("problems"), 23))
        await desk.pilot.pause(0.1)
        assert desk.model.problems_only


async def test_q_leaves_at_once_when_nobody_else_is_attached() -> None:
    async with opened() as desk:
        await desk.press("q")
        assert not desk.app.is_running or desk.app._exit
    assert desk.engine.closed


async def test_q_asks_when_other_desks_hang_on_this_engine() -> None:
    async with opened() as desk:
        desk.engine.push(clients=2)
        await desk.tick(1)
        await desk.press("q")
        assert isinstance(desk.app.screen, Confirm)
        assert "2 other desks are attached" in desk.text()
        focused = desk.app.focused
        assert isinstance(focused, Button)
        assert focused.id == "no"
        await desk.press("enter")
        assert isinstance(desk.app.screen, FleetScreen)
        assert desk.app.is_running
        await desk.press("q", "escape", "q", "right", "enter")
        assert desk.app._exit


async def test_a_lost_engine_is_said_dims_the_picture_and_turns_writing_off() -> None:
    async with opened(size=(120, 40)) as desk:
        desk.engine.lose("the engine's socket was closed")
        await desk.tick(0.1)
        assert "engine lost" in desk.text()
        assert "agent-0006" in desk.text()
        assert desk.screen.has_class("-lost")
        assert desk.table.styles.text_opacity < 1
        await desk.press(*WRITING)
        assert isinstance(desk.app.screen, FleetScreen)
        assert desk.engine.executed == []
        assert sum("engine lost" in toast for toast in desk.toasts()) == 1
        desk.engine.restore()
        await desk.tick(10)
        assert not desk.screen.has_class("-lost")
        assert any("the engine is back" in toast for toast in desk.toasts())
        await desk.press("ctrl+r")
        assert len(desk.engine.executed) == 1


async def test_an_engine_that_does_not_start_says_why_and_what_to_do() -> None:
    async def connect() -> EngineApi:
        raise BursarError("/data: [red]not[/red] writable\x1b[2J")

    app = BursarApp(connect, clock=ManualClock())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.2)
        assert app.session.link.phase is Phase.FAILED
        desk = Desk(app, pilot, None, ManualClock())  # type: ignore[arg-type]  # no engine
        assert "the engine did not start" in desk.text()
        assert "/data: [red]not[/red] writable" in desk.text()
        assert "bursar doctor" in desk.text()


async def test_before_the_engine_is_there_the_table_and_the_reason_are() -> None:
    ready = asyncio.Event()

    async def connect() -> EngineApi:
        await ready.wait()
        raise BursarError("never")

    app = BursarApp(connect, clock=ManualClock())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause(0.1)
        desk = Desk(app, pilot, None, ManualClock())  # type: ignore[arg-type]  # no engine
        assert "AGENT" in desk.text()
        assert "opening the engine" in desk.text()
        assert "connecting" in desk.text()


async def test_a_terminal_too_small_says_so_in_one_line() -> None:
    async with opened(size=(59, 16)) as desk:
        assert [line.strip() for line in desk.lines() if line.strip()] == [
            "bursar needs 60x16; this is 59x16"
        ]
        await desk.pilot.resize_terminal(60, 16)
        await desk.pilot.pause(0.1)
        assert "agent-0006" in desk.text()


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (120, 40), (200, 60)])
async def test_no_line_is_wider_than_the_terminal_and_the_bar_never_wraps(
    size: tuple[int, int],
) -> None:
    async with opened(size=size) as desk:
        lines = desk.lines()
        assert len(lines) == size[1]
        assert lines[0].rstrip().endswith("UTC")
        assert lines[1].rstrip().endswith("live 1s")
        assert "tron◐ stale 2m" in lines[0]
        assert "48 agents  ✓43 ⚠2 ✗3" in lines[1]


async def test_a_failing_store_is_named_in_the_bar_and_said_once() -> None:
    async with opened(size=(120, 30)) as desk:
        for _ in range(3):
            desk.engine.push(store=StoreHealth("sqlite", "x.db", "disk is full"))
            await desk.tick(1)
        assert "store: disk is full" in desk.text()
        assert sum("disk is full" in toast for toast in desk.toasts()) == 1


async def test_a_chain_in_trouble_is_toasted_once_until_it_recovers() -> None:
    async with opened(size=(120, 30)) as desk:
        for state in ("down", "down", "live", "down"):
            desk.engine.emit(
                "CHAIN_STATE_CHANGED", "base", chain="base", newState=state, reason="[b]x[/b]"
            )
            await desk.tick(6)
        said = [toast for toast in desk.toasts() if toast.startswith("base")]
        assert said == ["base down: [b]x[/b]", "base: live again", "base down: [b]x[/b]"]


async def test_a_crash_shows_where_the_log_is_and_no_local_variable(tmp_path: Path) -> None:
    log = tmp_path / "crash.log"
    script = """
import asyncio, sys
from pathlib import Path
from tui.app import BursarApp
from tui.options import DeskOptions
async def connect():
    seed_phrase = "abandon ability able"
    raise ValueError("broken \\x1b[31mpart")
app = BursarApp(connect, DeskOptions(log_path=Path(sys.argv[1])))
asyncio.run(app.run_async(headless=True))
sys.exit(app.return_code)
"""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script, str(log)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "bursar crashed: ValueError: broken part" in done.stderr
    assert "crash.log" in done.stderr.replace("\n", "")
    assert "abandon" not in done.stderr + log.read_text()
    assert "ValueError" in log.read_text()


async def test_importing_the_desk_loads_nothing_that_is_not_needed_for_the_first_paint() -> None:
    heavy = "web3 xrpl prometheus_client aiohttp plotext httpx websockets aiosqlite typer"
    script = f"import sys, tui.app; print([m for m in {heavy.split()} if m in sys.modules])"
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


async def test_typing_in_a_field_is_never_a_command() -> None:
    async with opened() as desk:
        await desk.press("slash")
        await desk.type("q 15")
        assert desk.app.screen.query_one(Input).value == "q 15"
        assert isinstance(desk.app.screen, FleetScreen)
        assert not desk.app.session.paused


async def test_nothing_is_drawn_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(size=(120, 40)) as desk:
        await desk.tick(1)
        await desk.pilot.pause(0.3)
        drawn: list[object] = []
        display = desk.app._display

        def noted(screen: Screen[object], renderable: RenderableType | None) -> None:
            drawn.append(renderable)
            display(screen, renderable)

        monkeypatch.setattr(desk.app, "_display", noted)
        for _ in range(5):
            await desk.tick(1)
        assert drawn == []
        row = desk.engine.row_of("agent-0006", 2)
        desk.engine.push(balances=(msgspec.structs.replace(row, amount=Amount(5)),))
        await desk.tick(1)
        assert drawn
