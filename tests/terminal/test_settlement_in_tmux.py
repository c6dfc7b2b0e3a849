"""The settlement board of the demo in a real terminal: what is stuck is seen without colours, and
an operator fails it and completes the next payment by keys."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path

import pytest

from tests.terminal.test_demo_in_tmux import header, leave, start
from tests.terminal.tmux import Tmux, terminal

STUCK = "sim-tideway USD"


def on_peer(tmux: Tmux) -> None:
    """Put the cursor on the pair that gets stuck: the filter leaves it alone in list or lane.

    It may change its lane between two keys, so the lanes are walked there and back until it is met.
    """
    keys = itertools.cycle("gllhh")

    def met(shown: str) -> bool:
        if detail_of(shown) == STUCK:
            return True
        tmux.press(next(keys))
        time.sleep(0.3)
        return False

    tmux.until(met, "the stuck pair is under the cursor")


def begun_again(tmux: Tmux) -> bool:
    """Whether the failed payment is under way once more, and under the cursor."""
    on_peer(tmux)
    return re.search(r"pays [\d,]+ by simulated, 1 failed", tmux.screen()) is not None


def paid(tmux: Tmux) -> bool:
    """Whether the pair, wherever it stands now, says that it was settled."""
    on_peer(tmux)
    return re.search(r"[\d,]+ of [\d,]+ settled", tmux.screen()) is not None


def detail_of(shown: str) -> str:
    """The pair that the lines under the board tell of."""
    under = re.split(r"─{40,}", shown)[-1]
    found = re.search(r"(sim-\w+ [A-Z]{3})  ", under)
    return found[1] if found else ""


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 60)])
def test_a_stuck_payment_is_seen_failed_and_paid_by_keys(
    columns: int, lines: int, home: Path
) -> None:
    with terminal(columns, lines) as tmux:
        start(tmux, home)
        tmux.until(header, "the table's header")
        tmux.press("2")
        shown = tmux.shows("1 STUCK", 120)
        assert f"STUCK: {STUCK}" in shown  # in words, over the board
        tmux.press("/")
        tmux.lacks("E explain")
        tmux.type("peer:sim-tideway token:usd")
        tmux.press("Enter")
        tmux.shows("filter: peer:sim-tideway")
        on_peer(tmux)
        tmux.press("E")
        assert "is under way, begun by simulated" in tmux.shows("USD: why")
        tmux.press("Escape")
        tmux.lacks("USD: why")
        tmux.press("x")
        tmux.shows("failed ─")
        tmux.type("the bank sent it back")
        tmux.shows("it will be asked for again")
        tmux.press("Enter")
        tmux.shows("Was it not paid?")
        tmux.shows("the bank sent it back")  # the question repeats the reason
        tmux.press("Enter")  # Cancel is under the cursor: nothing happens
        tmux.lacks("Was it not paid?")
        assert "STUCK" in tmux.screen()
        tmux.press("x")
        tmux.shows("failed ─")
        tmux.type("the bank sent it back")
        tmux.shows("it will be asked for again")
        tmux.press("Enter")
        tmux.shows("Was it not paid?")
        tmux.press("Tab", "Enter")
        tmux.shows("USD failed; now")
        tmux.lacks("STUCK")
        tmux.until(lambda shown: begun_again(tmux), "the payment is begun again")
        tmux.press("d")
        tmux.shows("done ─")
        tmux.press("Enter")
        tmux.shows("Book the payment?")
        tmux.press("Tab", "Enter")
        tmux.lacks("Book the payment?")
        tmux.until(lambda shown: paid(tmux), "the payment is booked")
        leave(tmux, home)
