"""`bursar demo` as a person sees it, in tmux at the smallest usual size and at a large one."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.terminal.tmux import ROOT, Tmux, is_green, processes_with, terminal

CHAINS = ("base", "tron", "xrpl")


def start(tmux: Tmux, home: Path, arguments: str = "demo", **more: str) -> None:
    """Type the command into the shell, between two words that must still stand afterwards."""
    environment = {
        "TMPDIR": str(home),
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
        **more,
    }
    given = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    command = (
        f"env -u NO_COLOR -u COLUMNS -u LINES {given} {shlex.quote(sys.executable)} -m tui.cli "
        f"{arguments}"
    )
    tmux.type(f"clear; echo be''fore; {command}; echo exit=$?")
    tmux.press("Enter")


def header(shown: str) -> str:
    """The table's header line, "" while there is none."""
    return next((line for line in shown.splitlines() if "AGENT" in line and "BALANCE" in line), "")


def balances(shown: str) -> list[str]:
    """The BALANCE figures of the rows (and of the detail beside them)."""
    return re.findall(r"(?:ETH|USDC|EURC|TRX|USDT|XRP) +([\d,]+\.\d+)", shown)


def dots(coloured: str) -> dict[str, str]:
    """Per chain of the status bar the SGR sequences before its sign, if that is a full dot."""
    return dict(re.findall(r"(base|tron|xrpl)((?:\x1b\[[\d;]*m)*)●", coloured.splitlines()[0]))


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 60)])
def test_the_demo_lives_answers_its_keys_and_leaves_the_terminal_as_it_was(
    columns: int, lines: int, home: Path
) -> None:
    with terminal(columns, lines) as tmux:
        start(tmux, home)
        first = tmux.until(header, "the table's header")
        assert "DEMO" in first.splitlines()[0]
        assert tmux.asks("alternate_on") == "1"
        assert max(len(line) for line in first.splitlines()) <= columns
        tmux.until(lambda _: len(dots(tmux.coloured())) == 3, "three chains are live")
        found = dots(tmux.coloured())
        assert all(is_green(found[chain]) for chain in CHAINS), found
        before = balances(tmux.until(lambda shown: len(balances(shown)) > lines // 2, "rows"))
        tmux.until(lambda shown: balances(shown) != before, "values move")
        keys(tmux)
        leave(tmux, home)


def keys(tmux: Tmux) -> None:
    """Every key of the tour does what the key bar and the help say."""
    tmux.press("5")
    assert "P50" in tmux.shows("CHAIN / ENDPOINT")
    tmux.press("6")
    assert "SEVERITY" in tmux.shows("WHAT")  # alerts stand over the log
    tmux.press("1")
    tmux.until(header, "the fleet again")
    tmux.press("!")
    problems = count(tmux.until(count, "problems alone"))
    assert 0 < int(problems) < 600  # how many depends on how far the chains got
    tmux.press("Escape")
    tmux.until(lambda shown: not count(shown), "all rows again")
    tmux.press("/")
    tmux.lacks("? help")  # the line is open: its own keys stand at the bottom
    tmux.type("chain:xrpl")
    shown = tmux.until(lambda shown: count(shown) == "200", "the filter holds")
    assert {chain for chain, _ in rows(shown)} == {"xrpl"}
    tmux.press("Enter")
    tmux.shows("? help")
    tmux.press("Escape")
    tmux.until(lambda shown: not count(shown), "all rows again")
    tmux.press("?")
    assert "Sort by the column after" in tmux.shows("Fleet: keys")
    tmux.press("Escape")
    tmux.lacks("Fleet: keys")
    tmux.press(":")
    tmux.shows("Search for commands")
    tmux.press("Escape")
    tmux.lacks("Search for commands")
    tmux.press("Enter")
    assert re.search(r"Fleet › agent-\d{4}", tmux.shows("Fleet ›"))
    tmux.press("Escape")
    tmux.until(header, "back on the fleet")


def count(shown: str) -> str:
    """How many rows the line under the table says are shown."""
    found = re.search(r"Fleet  ([\d,]+)/1,200", shown)
    return found[1].replace(",", "") if found else ""


def rows(shown: str) -> list[tuple[str, str]]:
    """Chain and asset of the table's rows."""
    return re.findall(r"agent-\d{4} +(base|tron|xrpl) +([A-Z]+) ", shown)


def leave(tmux: Tmux, home: Path) -> None:
    """`q` gives back the terminal and leaves nothing behind."""
    tmux.press("q")
    last = tmux.shows("exit=")
    assert "exit=0" in last
    assert "before" in last  # the screen from before the desk is back
    assert "Traceback" not in last
    assert "AGENT" not in last
    assert tmux.asks("alternate_on") == "0"
    assert tmux.asks("cursor_flag") == "1"
    assert tmux.asks("mouse_any_flag") == "0"
    tmux.type("echo typed''again")
    tmux.press("Enter")
    tmux.shows("typedagain")
    assert processes_with(f"TMPDIR={home}") == []
    assert [path.name for path in home.glob("bursar-demo-*")] == []
