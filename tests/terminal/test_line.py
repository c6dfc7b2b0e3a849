"""What the desk costs a line: nothing while nothing changes, little while fifty cells change each
second at 200x60; and how it leaves the line when it crashes."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest

from tests.terminal.pty_terminal import PtyTerminal, on_a_pty
from tests.terminal.tmux import ROOT, processes_with

AGENTS = 45  # all of them are on the screen
# Balances that change each second; with the detail of the row under the cursor (its figure, block
# and events) and the fleet's total, that is some fifty cells.
MOVING = 33
LIMIT = 6_000  # bytes a second


def environment(home: Path) -> dict[str, str]:
    """What a process on the line needs, and a home of its own."""
    return {"PYTHONPATH": str(ROOT), "HOME": str(home), "TMPDIR": str(home)}


def command(home: Path, moving: int) -> list[str]:
    """The desk over an engine that reads a ledger every second."""
    child = [sys.executable, "-P", "-m", "tests.terminal.desk_child"]
    return [*child, str(home), str(AGENTS), str(moving)]


def settled(line: PtyTerminal) -> None:
    """The fleet is shown and the first seconds are over; the clock's minute is not near its end
    (it shows HH:MM, and the turn of a minute is a change)."""
    line.until(b"AGENT")
    line.until(b"agent-0044")
    line.pump(3.0)
    left = 60 - time.time() % 60
    if left < 8:
        line.pump(left + 1)


@pytest.mark.slow
def test_nothing_is_written_while_nothing_changes(home: Path) -> None:
    with on_a_pty(command(home, 0), environment(home)) as line:
        settled(line)
        began = len(line.written)
        written = line.pump(5.0)
        assert written == 0, bytes(line.written[began:])
        line.type(b"j")  # it is alive all the same
        assert line.pump(1.0) > 0


@pytest.mark.slow
def test_fifty_changing_cells_a_second_fit_a_thin_line(home: Path) -> None:
    with on_a_pty(command(home, MOVING), environment(home)) as line:
        settled(line)
        began = len(line.written)
        written = line.pump(8.0)
        painted = re.findall(rb"XRP +40\.\d{6}", bytes(line.written[began:]))
    # A picture a second, but the window may hold one more or less than its seconds.
    pictures = len(painted) / MOVING
    print(f"\n{written / pictures:.0f} bytes a second, {pictures:.1f} pictures")
    assert 6 <= pictures <= 10
    assert written / pictures <= LIMIT


CRASHING = """
import sys
from tui.screens.fleet import FleetScreen

def explode(self):
    mnemonic = "abandon ability able"
    raise RuntimeError("the table fell over " + str(len(mnemonic)))

FleetScreen.action_problems = explode
sys.argv = ["bursar", "demo", "--agents", "20"]
from tui.cli import main
main()
"""


@pytest.mark.slow
def test_a_crash_gives_the_terminal_back_and_says_where_the_story_is(home: Path) -> None:
    with on_a_pty([sys.executable, "-P", "-c", CRASHING], environment(home)) as line:
        modes = line.modes()
        line.until(b"agent-0001")
        assert line.modes() != modes
        assert b"\x1b[?1049h" in line.written
        line.type(b"!")
        code = line.ended()
        last = bytes(line.written)
        assert line.modes() == modes
    for begun, ended in ((b"\x1b[?1049h", b"\x1b[?1049l"), (b"\x1b[?25l", b"\x1b[?25h")):
        assert last.rfind(ended) > last.rfind(begun) >= 0
    assert last.rfind(b"\x1b[?1003l") > last.rfind(b"\x1b[?1003h") >= 0  # the mouse is let go
    said = last[last.rfind(b"\x1b[?1049l") :].decode()
    assert "bursar crashed: RuntimeError: the table fell over 20" in said
    found = re.search(r"story is in (\S+)", said)
    assert found
    log = Path(found[1]).read_text()
    assert "explode" in log
    assert "the table fell over 20" in log
    for told in (last.decode(errors="replace"), log):
        assert "abandon ability" not in told
    assert code == 1
    assert processes_with(f"TMPDIR={home}") == []
