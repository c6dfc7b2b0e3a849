"""A real terminal for tests: tmux with a server of its own, a shell in it, and eyes on the screen.

What tmux shows has gone through a terminal emulator that is not ours; so a desk that looks right
here looks right over SSH too.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MISSING = "tmux is not installed: no tests of the desk in a real terminal"
_numbers = itertools.count()
_CUBE = (0, 95, 135, 175, 215, 255)


class Tmux:
    """One session. `screen` is what a person sees, trailing blanks removed."""

    def __init__(self, socket: str, columns: int, lines: int) -> None:
        self._command = ["tmux", "-u", "-L", socket, "-f", os.devnull]
        shell = "PS1='$ ' exec sh -i"
        self._run("new-session", "-d", "-x", str(columns), "-y", str(lines), shell)
        self._run("set-option", "-s", "set-clipboard", "on")  # programs may write to it

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    def type(self, words: str) -> None:
        """Type these characters."""
        self._run("send-keys", "-l", words)

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names (Enter, Escape, ...) or single characters."""
        for key in keys:
            self._run("send-keys", key)

    def screen(self) -> str:
        """The visible lines."""
        return self._run("capture-pane", "-p")

    def coloured(self) -> str:
        """The visible lines with their SGR sequences."""
        return self._run("capture-pane", "-p", "-e")

    def clipboard(self) -> str:
        """What programs put on the clipboard (OSC 52), newest first, shortened by tmux."""
        return self._run("list-buffers")

    def asks(self, variable: str) -> str:
        """A format variable of the pane, e.g. `alternate_on`."""
        return self._run("display-message", "-p", f"#{{{variable}}}").strip()

    def until(self, holds: Callable[[str], object], what: str, seconds: float = 60.0) -> str:
        """The first screen for which something holds; fails with the last one."""
        deadline = time.monotonic() + seconds
        while True:
            shown = self.screen()
            if holds(shown):
                return shown
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}\n{shown}"
            time.sleep(0.05)

    def shows(self, words: str, seconds: float = 60.0) -> str:
        """The first screen with these words."""
        return self.until(lambda shown: words in shown, f"{words!r} is shown", seconds)

    def lacks(self, words: str, seconds: float = 60.0) -> str:
        """The first screen without these words."""
        return self.until(lambda shown: words not in shown, f"{words!r} is gone", seconds)

    def close(self) -> None:
        """End the session and its server."""
        subprocess.run([*self._command, "kill-server"], capture_output=True, check=False)


@contextmanager
def terminal(columns: int, lines: int) -> Iterator[Tmux]:
    """A terminal of that size; skips where there is no tmux, fails in CI."""
    if shutil.which("tmux") is None:
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    made = Tmux(f"bursar-{os.getpid()}-{next(_numbers)}", columns, lines)
    try:
        yield made
    finally:
        made.close()


def is_green(sgr: str) -> bool:
    """Whether the last foreground of a run of SGR sequences, of 256 or more colours, is green."""
    found = re.findall(r"38;(?:5;(\d+)|2;(\d+);(\d+);(\d+))", sgr)
    if not found:
        return False
    indexed, *true = found[-1]
    if indexed:
        place = int(indexed) - 16
        assert 0 <= place < 216, f"colour {indexed} is not of the cube"
        red, green, blue = (_CUBE[place // 36], _CUBE[place // 6 % 6], _CUBE[place % 6])
    else:
        red, green, blue = (int(part) for part in true)
    return green > red and green > blue


def processes_with(text: str) -> list[int]:
    """Processes that carry a text in their environment; empty where it cannot be known."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue  # it ended, or is somebody else's
        if text.encode() in environment and state != "Z":
            found.append(int(folder.name))
    return found
