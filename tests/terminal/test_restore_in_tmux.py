"""The restore wizard on the demo in a real terminal, by keys: a wrong password, a wrong name, and
then a restore that is put in force, compared with the chains and released."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.demo.cast import PASSWORD
from core.demo.setup import NODE_ID
from tests.terminal.test_demo_in_tmux import header, leave, start
from tests.terminal.tmux import Tmux, terminal


def generation(home: Path) -> str:
    """The generation in use."""
    [current] = home.glob("bursar-demo-*/data/CURRENT")
    return current.read_text().strip()


def unlock(tmux: Tmux, password: str) -> None:
    """Give a password in the wizard's second step."""
    tmux.shows("[2 unlock]")
    tmux.type(password)
    tmux.shows("••••")
    tmux.press("Enter")


def name(tmux: Tmux, typed: str) -> None:
    """Type a name into the line that asks for it, and see it there (a toast may cover it)."""
    tmux.type(typed)
    tmux.until(lambda shown: re.search(rf"name +{typed}", shown), f"{typed} is typed")


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 60)])
def test_a_restore_is_walked_through_by_keys(columns: int, lines: int, home: Path) -> None:
    with terminal(columns, lines) as tmux:
        start(tmux, home)
        tmux.until(header, "the table's header")
        tmux.press("4")
        tmux.until(lambda shown: re.search(r"[0-9a-f]{8}-[0-9a-f-]+ +full", shown), "a backup")
        before = generation(home)
        tmux.press("R")
        tmux.until(lambda shown: re.search(r"[0-9a-f]{8}-[0-9a-f-]+ +full", shown)
                   and "[1 pick]" in shown, "the backups to pick from")  # fmt: skip
        tmux.press("Enter")
        tmux.shows(PASSWORD)  # the demo says what opens it
        unlock(tmux, "not the password")
        tmux.shows("The password is wrong")
        unlock(tmux, PASSWORD)
        tmux.shows("[3 dry run]")
        assert "600 wallets, all watch-only" in tmux.shows(" added ")
        tmux.press("Enter")
        tmux.shows("[4 confirm]")
        name(tmux, "another-name")
        tmux.press("Enter")
        tmux.shows("[4 confirm]")
        assert generation(home) == before
        tmux.press("C-u")
        tmux.lacks("another-name")
        name(tmux, NODE_ID)
        tmux.press("Enter")
        tmux.shows("[6 reconcile]", 120)
        assert generation(home) != before
        tmux.until(lambda now: re.search(r"compared .* ([\d,]+)/\1 ", now), "all is compared", 120)
        tmux.shows("h release settlements")  # the key is offered once the desk has heard of it
        tmux.press("h")
        tmux.shows("Release settlements")
        tmux.type("compared by hand")
        tmux.press("Enter")
        tmux.shows("Release settlements?")
        tmux.press("Tab", "Enter")
        tmux.lacks("HELD")
        tmux.press("Escape")
        tmux.shows("undo")
        leave(tmux, home)
