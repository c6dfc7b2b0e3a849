"""A pseudo-terminal that counts: a process on it, every byte it writes kept with its time.

It shows nothing and answers no queries, like a line that only carries. What the screen looks like
is for `tmux`; here it is how much is written, how soon, and in which state the line is left.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

_SEQUENCES = re.compile(rb"\x1b\[[0-9;?<>=]*[a-zA-Z]|\x1b[\]P^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.")


class PtyTerminal:
    """A process whose terminal this is. `written` is everything it wrote so far."""

    def __init__(self, process: subprocess.Popen[bytes], master: int, slave: int) -> None:
        self.process = process
        self.written = bytearray()
        self._master = master
        self._slave = slave  # kept open, so that the line's state can be asked for afterwards

    def pump(self, seconds: float) -> int:
        """Take what is written for so long; how many bytes."""
        before, deadline = len(self.written), time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._take(left)
        return len(self.written) - before

    def _take(self, seconds: float) -> None:
        ready, _, _ = select.select([self._master], [], [], seconds)
        if ready:
            self.written += os.read(self._master, 65_536)

    def until(self, words: bytes, seconds: float = 60.0) -> float:
        """Wait until these words were written, escape sequences aside; the time.perf_counter()
        of the moment they were there."""
        deadline = time.monotonic() + seconds
        while words not in self.text():
            told = self.text()[-800:].decode(errors="replace")
            assert time.monotonic() < deadline, f"{words!r} was not written:\n{told}"
            self._take(0.05)
        return time.perf_counter()

    def text(self) -> bytes:
        """What was written without its escape sequences."""
        return _SEQUENCES.sub(b"", bytes(self.written))

    def type(self, keys: bytes) -> None:
        """Press keys, as a terminal sends them."""
        os.write(self._master, keys)

    def ended(self, seconds: float = 60.0) -> int:
        """Wait for the end of the process, taking what it writes; its exit code."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "the process did not end"
            self._take(0.05)
        self.pump(0.2)
        return self.process.returncode

    def modes(self) -> list[object]:
        """The line's settings (see termios(3)): echo, canonical input, signals."""
        return termios.tcgetattr(self._slave)


@contextmanager
def on_a_pty(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    columns: int = 200,
    lines: int = 60,
    pass_fds: Sequence[int] = (),
    folder: str | None = None,
    controlling: bool = False,
) -> Iterator[PtyTerminal]:
    """Run a command in a folder, on a terminal of that size with this environment and nothing
    else. Where it is the controlling one, Ctrl-C on it is a signal."""

    def take_over() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8", **environment},
        pass_fds=tuple(pass_fds),
        cwd=folder,
        start_new_session=True,
        preexec_fn=take_over if controlling else None,
    )
    terminal = PtyTerminal(process, master, slave)
    try:
        yield terminal
    finally:
        if process.poll() is None:
            process.terminate()
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                terminal.pump(0.05)
            if process.poll() is None:
                process.kill()
            process.wait()
        os.close(master)
        os.close(slave)
