"""Speaking with an operator about secrets: answers that are not echoed, words that leave no trace.

A secret is shown on the terminal's alternate screen, which is cleared before it is left, so that
nothing of it is in the scrollback. Where there is no terminal, answers are lines of standard
input and nothing secret is ever shown.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import typer

from core.model import BursarError, Secret
from tui.text import safe

_ENDING = (signal.SIGTERM, signal.SIGHUP)
_HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)


class DialogueError(BursarError):
    """A secret cannot be asked for or shown here."""


def is_terminal() -> bool:
    """Whether somebody sits there who can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def ask(prompt: str, default: str = "") -> str:
    """A line, echoed; the default where it is empty. Ctrl-D ends the command."""
    shown = f" [{default}]" if default else ""
    _write(f"{prompt}{shown}: ")
    return _line().strip() or default


def agree(question: str, *, default: bool) -> bool:
    """Yes or no."""
    while True:
        answer = ask(f"{question} [{'Y/n' if default else 'y/N'}]").lower()
        if answer in {"", "y", "yes", "n", "no"}:
            return default if not answer else answer.startswith("y")


def hidden(prompt: str) -> Secret:
    """A line that is not echoed. Ctrl-D ends the command."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    silent = termios.tcgetattr(fd)
    silent[3] &= ~termios.ECHO
    try:
        # Before the question is there: a quick answer would still be echoed.
        termios.tcsetattr(fd, termios.TCSADRAIN, silent)
        _write(f"{prompt}: ")
        return Secret(_line().rstrip("\r\n"))
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
        _write("\n")


def piped_secret(what: str) -> Secret:
    """The next line of standard input. Raises DialogueError where there is none."""
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise DialogueError(f"Standard input holds no line with {what}.")
    return Secret(line)


@contextmanager
def secret_screen(title: str) -> Iterator[None]:
    """The alternate screen, empty but for the title, for as long as a secret is looked at.

    It is cleared and left however this ends, Ctrl-C and SIGTERM included; the job cannot be
    stopped meanwhile. Raises DialogueError where the terminal has no such screen.
    """
    enter, leave, clear = _screen()
    before = {number: signal.signal(number, _end) for number in _ENDING}
    before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    try:
        _write(f"{enter}{clear}{safe(title)}\n\n")
        yield
    finally:
        _write(f"{clear}{leave}")
        for number, handler in before.items():
            signal.signal(number, handler)


def wipe() -> None:
    """Empty the secret screen for what is shown on it next."""
    _write(_screen()[2])


def show(lines: Sequence[str]) -> None:
    """Lines on the secret screen; they go nowhere else."""
    _write("".join(f"{line}\n" for line in lines))


def columns_of(words: Sequence[str]) -> list[str]:
    """Numbered words in as many columns as the terminal is wide, read downwards."""
    width = max(shutil.get_terminal_size().columns - 2, 20)
    cell = max(len(word) for word in words) + 6
    columns = max(1, min(width // cell, 4))
    rows = -(-len(words) // columns)
    return [
        "  "
        + "".join(
            f"{place + 1:2}. {words[place]}".ljust(cell) for place in range(row, len(words), rows)
        ).rstrip()
        for row in range(rows)
    ]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C and its like wait until what is done here is done."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _screen() -> tuple[str, str, str]:
    """How this terminal enters, leaves and clears a screen without scrollback."""
    import curses

    term = os.environ.get("TERM", "")
    try:
        curses.setupterm(term or "dumb", sys.stdout.fileno())
    except curses.error as error:
        raise DialogueError(f"The terminal {term!r} is not known here.") from error
    found = [curses.tigetstr(name) for name in ("smcup", "rmcup", "clear", "E3")]
    enter, leave, clear, clear_past = ((each or b"").decode("latin-1") for each in found)
    if enter and leave and clear:
        return enter, leave, clear
    if clear and clear_past:  # the Linux console: no second screen, but its past can be wiped
        return "", "", clear + clear_past
    raise DialogueError(
        f"The terminal {term!r} has no alternate screen, so the secret would stay in its "
        "scrollback. Use another terminal."
    )


def _end(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise typer.Abort
    return line


def _write(words: str) -> None:
    sys.stdout.write(words)
    sys.stdout.flush()
