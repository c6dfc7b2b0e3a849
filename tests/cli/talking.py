"""Talking with `bursar` on a pseudo-terminal: ask, answer, look at the traces."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.shell import Home
from tests.terminal.pty_terminal import PtyTerminal, on_a_pty

ENTER_SCREEN, LEAVE_SCREEN = b"\x1b[?1049h", b"\x1b[?1049l"
_NUMBERED = re.compile(r"\b(\d+)\. ([a-z]+)")


class Talk:
    """One command on a terminal. `seen` is how much of its text was looked at."""

    def __init__(self, line: PtyTerminal) -> None:
        self.line = line
        self.seen = 0

    def until(self, words: str, seconds: float = 60.0) -> str:
        """Wait for words that were not there before; all that came up to and with them."""
        wanted = words.encode()
        deadline = time.monotonic() + seconds
        while True:
            text = self.line.text()
            at = text.find(wanted, self.seen)
            if at >= 0:
                before, self.seen = self.seen, at + len(wanted)
                return text[before : self.seen].decode()
            told = text[-1500:].decode(errors="replace")
            assert time.monotonic() < deadline, f"{words!r} did not come:\n{told}"
            assert self.line.process.poll() is None, f"it ended before {words!r}:\n{told}"
            self.line.pump(0.05)

    def answer(self, question: str, words: str = "") -> str:
        """Wait for a question and type the answer; what came with the question."""
        told = self.until(question)
        self.line.type(words.encode() + b"\r")
        return told

    def kept(self) -> bytes:
        """All that was written outside the alternate screen: what a scrollback can hold."""
        parts = bytes(self.line.written).split(ENTER_SCREEN)
        return parts[0] + b"".join(part.partition(LEAVE_SCREEN)[2] for part in parts[1:])

    def is_left_well(self) -> bool:
        """The alternate screen was left and the line echoes again."""
        modes = self.line.modes()
        written = bytes(self.line.written)
        assert isinstance(modes[3], int)
        echoes = bool(modes[3] & 0o10)  # ECHO
        return echoes and written.rfind(LEAVE_SCREEN) >= written.rfind(ENTER_SCREEN)


@contextmanager
def talking(home: Home, *args: str, **more: str) -> Iterator[Talk]:
    """`bursar` with these arguments on an 80x24 terminal of its own."""
    root = str(Path(__file__).parents[2])
    environment = home.environment(PYTHONPATH=root, TERM="xterm-256color", COLUMNS="80") | more
    command = [sys.executable, "-P", "-m", "tui.cli", *args]
    folder = str(home.path)
    with on_a_pty(
        command, environment, columns=80, lines=24, folder=folder, controlling=True
    ) as line:
        yield Talk(line)


def words_on(screen: str) -> list[str]:
    """The numbered words of a screen, in order."""
    found = {int(number): word for number, word in _NUMBERED.findall(screen)}
    return [found[number] for number in sorted(found)]
