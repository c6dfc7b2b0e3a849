"""`bursar init` on a real pseudo-terminal: made, imported, watch-only, interrupted, killed."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.shell import Home
from tests.cli.talking import Talk, talking, words_on
from tests.terminal.tmux import terminal
from tests.wallets.vectors import JUNK

PASSWORD = "gravel-omen-canary-tulip-seventh"
INIT = ("--config", "bursar.toml", "init", "--data-dir", "data")


def files_of(home: Home) -> set[str]:
    return {str(p.relative_to(home.path)) for p in home.path.rglob("*") if p.is_file()}


def no_trace(home: Home) -> bool:
    return not home.config.exists() and not home.data.exists()


async def piped(home: Home, text: str, *args: str, **more: str) -> tuple[int, str, str]:
    """A command with that text on its standard input."""
    process = await home.start(*args, piped=True, **more)
    out, err = await asyncio.wait_for(process.communicate(text.encode()), 60)
    assert process.returncode is not None
    assert b"Traceback" not in err, err.decode()
    return process.returncode, out.decode(), err.decode()


async def verified(home: Home, words: str) -> bool:
    code, out, _ = await piped(home, words + "\n", "seed", "verify")
    return code == 0 and "are the seed of this installation" in out


def write_down(talk: Talk) -> list[str]:
    """Look at the words, as an operator with a pen."""
    talk.answer("Press Enter to see them")
    return words_on(talk.answer("when they are on paper"))


def say_back(talk: Talk, words: list[str], count: int) -> None:
    for _ in range(count):
        asked = talk.until("to see all again)")
        place = int(re.findall(r"Word (\d+)", asked)[-1])
        talk.line.type(words[place - 1].encode() + b"\r")


def set_password(talk: Talk, password: str = PASSWORD) -> None:
    talk.answer("be offered one)", password)
    talk.answer("The same again", password)


async def test_a_seed_is_made_written_down_proven_and_in_no_scrollback(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with talking(home, *INIT) as talk:
        talk.answer("Which [1]", "1")
        words = write_down(talk)
        assert len(words) == 24
        talk.answer("to see all again)", "wrong")
        talk.until("That is not the word")
        talk.answer("to see all again)", "?")
        assert words_on(talk.answer("when they are on paper")) == words
        say_back(talk, words, 4)
        talk.answer("be offered one)", "short")
        talk.until("at least 16 are needed")
        talk.answer("be offered one)", "Password12345678!")
        talk.until("guessable")
        talk.answer("be offered one)", PASSWORD)
        talk.answer("The same again", PASSWORD + "x")
        talk.until("neither was taken")
        set_password(talk)
        talk.answer("Make one [y/N]", "y")
        shown = talk.answer("Press Enter when it is on paper")
        recovery = "".join(re.findall(r"(?:[A-Z2-7]{4}-?){7}", shown))
        talk.answer("Type its last group", "AAAA")
        talk.answer("Press Enter when it is on paper")
        talk.answer("Type its last group", recovery[-4:])
        assert talk.line.ended() == 0
        assert talk.is_left_well()
        kept = talk.kept().decode()
        assert "is in its vault" in kept
        for secret in (words[3] + " ", " ".join(words[:3]), PASSWORD, recovery, recovery[-4:]):
            assert secret not in kept.replace("\r\n", " "), secret
    assert await verified(home, " ".join(words))
    code, out, _ = await piped(home, f"{recovery}\n", "seed", "unlock")
    assert (code, "The vault opens" in out) == (0, True)
    for name in files_of(home):
        content = (tmp_path / name).read_bytes()
        assert " ".join(words[:3]).encode() not in content, name
        assert PASSWORD.encode() not in content, name
        assert recovery.encode() not in content, name
        assert (tmp_path / name).stat().st_mode & 0o077 == 0, name


async def test_an_offered_phrase_is_shown_apart_and_typed_twice(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with talking(home, *INIT, "--words", "12") as talk:
        words = write_down(talk)
        assert len(words) == 12
        say_back(talk, words, 3)
        talk.answer("be offered one)", "")
        told = talk.answer("then it is typed twice")
        [phrase] = re.findall(r"[a-z]+(?:-[a-z]+){6}", told)
        set_password(talk, phrase)
        talk.answer("Make one [y/N]", "")
        assert talk.line.ended() == 0
        assert phrase.encode() not in talk.kept()
    assert await verified(home, " ".join(words))
    assert (await piped(home, f"{phrase}\n", "seed", "unlock"))[0] == 0


async def test_words_are_imported_without_being_shown(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with talking(home, *INIT) as talk:
        talk.answer("Which [1]", "2")
        talk.answer("they are not shown)", JUNK.replace("junk", "jnuk"))
        talk.until("word 12")
        talk.answer("they are not shown)", JUNK)
        set_password(talk)
        talk.answer("Make one [y/N]", "n")
        assert talk.line.ended() == 0
        assert b"test test" not in talk.line.written
        assert PASSWORD.encode() not in talk.line.written
    assert await verified(home, JUNK)


@pytest.mark.parametrize("backs_up", [True, False])
async def test_watch_only_makes_no_seed_and_a_backup_key_if_wanted(
    tmp_path: Path, backs_up: bool
) -> None:
    home = Home(tmp_path)
    with talking(home, *INIT) as talk:
        talk.answer("Which [1]", "3")
        talk.answer("so that backups can be made [Y/n]", "" if backs_up else "n")
        if backs_up:
            set_password(talk)
            talk.answer("Make one [y/N]", "n")
        assert talk.line.ended() == 0
        assert b"Watch-only" in talk.kept()
    names = {Path(name).name for name in files_of(home)}
    assert ("backup-key.json" in names) is backs_up
    assert "master-seed.enc" not in names
    assert (await home.run("wallets", "create", "1")).code == 1


def say_nothing(talk: Talk) -> None:
    talk.until("Which [1]")


def look_at_words(talk: Talk) -> None:
    talk.answer("Which [1]", "1")
    talk.answer("Press Enter to see them")
    talk.until("when they are on paper")


def be_asked_back(talk: Talk) -> None:
    look_at_words(talk)
    talk.line.type(b"\r")
    talk.until("to see all again)")


def type_a_password(talk: Talk) -> None:
    talk.answer("Which [1]", "2")
    talk.answer("they are not shown)", JUNK)
    talk.until("be offered one)")


def look_at_recovery(talk: Talk) -> None:
    type_a_password(talk)
    talk.line.type(f"{PASSWORD}\r".encode())
    talk.answer("The same again", PASSWORD)
    talk.answer("Make one [y/N]", "y")
    talk.until("Press Enter when it is on paper")


@pytest.mark.parametrize("how", ["ctrl-c", "ctrl-d", "hangup", "terminate"])
@pytest.mark.parametrize(
    "reach", [say_nothing, look_at_words, be_asked_back, type_a_password, look_at_recovery]
)
async def test_leaving_at_any_question_leaves_nothing(
    tmp_path: Path, reach: object, how: str
) -> None:
    assert callable(reach)
    home = Home(tmp_path)
    with talking(home, *INIT) as talk:
        reach(talk)
        if how.startswith("ctrl"):
            talk.line.type(b"\x03" if how == "ctrl-c" else b"\x04")
        else:
            talk.line.process.send_signal(signal.SIGHUP if how == "hangup" else signal.SIGTERM)
        assert talk.line.ended() != 0
        if how.startswith("ctrl") or reach is not type_a_password:
            assert talk.is_left_well()
        assert b"Traceback" not in talk.line.written
    assert no_trace(home), files_of(home)


@pytest.mark.parametrize("milliseconds", [0, 60, 200, 500, 900])
async def test_ctrl_c_while_files_are_written_waits_until_they_are(
    tmp_path: Path, milliseconds: int
) -> None:
    home = Home(tmp_path)
    with talking(home, *INIT, "--import") as talk:
        talk.answer("they are not shown)", JUNK)
        set_password(talk)
        talk.answer("Make one [y/N]", "n")
        talk.line.pump(milliseconds / 1000)
        talk.line.type(b"\x03")
        talk.line.ended()
        assert talk.is_left_well()
    if home.config.exists():
        assert await verified(home, JUNK)
        assert (home.data / "backup-key.json").exists()
    else:
        assert no_trace(home), files_of(home)


@pytest.mark.parametrize("milliseconds", [500, 700, 900, 1100, 1400, 1800])
async def test_killed_while_files_are_written_the_same_again_completes_it(
    tmp_path: Path, milliseconds: int
) -> None:
    home = Home(tmp_path)
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "password").chmod(0o600)
    args = (*INIT, "--password-file", "password")
    process = await home.start(*args, "--import", piped=True)
    assert process.stdin is not None
    process.stdin.write(f"{JUNK}\n".encode())
    process.stdin.close()
    await asyncio.sleep(milliseconds / 1000)
    if process.returncode is None:
        process.kill()
    await process.communicate()
    code, _, err = await piped(home, f"{JUNK}\n", *args, "--import")
    if home.config.exists() and "exists already" in err:
        assert code == 2  # it was whole before the kill
    elif "There is a seed here already" in err:
        assert code == 2
        code, _, err = await piped(home, "", *args)
        assert code == 0, err
    else:
        assert code == 0, err
    assert await verified(home, JUNK)
    assert (await piped(home, f"{PASSWORD}\n", "seed", "unlock"))[0] == 0
    assert (home.data / "backup-key.json").exists()
    assert not [name for name in files_of(home) if name.endswith(".tmp")]


async def test_a_terminal_that_would_keep_the_words_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with talking(home, *INIT, TERM="dumb") as talk:
        talk.answer("Which [1]", "1")
        talk.answer("Press Enter to see them")
        talk.until("has no alternate screen")
        assert talk.line.ended() == 1
    assert no_trace(home)


def asks_for(number: int) -> Callable[[str], bool]:
    """Whether so many words were asked for, and the last of them was not typed yet."""
    end = "to see all again):"
    return lambda shown: shown.count(end) == number and shown.rstrip().endswith(end)


def test_after_init_a_real_terminal_holds_none_of_the_words(tmp_path: Path) -> None:
    import sys

    home = Home(tmp_path)
    root = Path(__file__).parents[2]
    with terminal(80, 24) as tmux:
        tmux.type(f"cd {tmp_path} && export HOME={tmp_path} PYTHONPATH={root}\n")
        tmux.type(f"{sys.executable} -m tui.cli {' '.join(INIT)} --words 12\n")
        tmux.shows("Press Enter to see them", 30)
        tmux.press("Enter")
        words = words_on(tmux.shows("when they are on paper"))
        assert tmux.asks("alternate_on") == "1"
        tmux.press("Enter")
        for asked in range(1, 4):
            shown = tmux.until(asks_for(asked), f"word {asked} is asked back")
            place = int(re.findall(r"Word (\d+)", shown)[-1])
            tmux.type(words[place - 1] + "\n")
        tmux.shows("be offered one)")
        tmux.type(PASSWORD + "\n")
        tmux.shows("The same again")
        tmux.type(PASSWORD + "\n")
        tmux.shows("Make one")
        tmux.type("n\n")
        tmux.shows("is in its vault")
        past = tmux._run("capture-pane", "-p", "-S", "-")
        assert [word for word in words if re.search(rf"\d\. {word}\b", past)] == []
        assert " ".join(words[:2]) not in past
        assert PASSWORD not in past
    assert home.config.exists()
