"""The conversation in which an installation gets its seed, its password and its recovery key.

All of it is held in memory until the last answer is given; leaving before that leaves nothing.
`bursar init` and `bursar seed create` share it. Secrets come from the keyboard, a pipe or a 0600
file, never from an argument.
"""

from __future__ import annotations

import os
import secrets as random
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from core.model import BursarError, Secret
from tui.cli import dialogue, output
from tui.cli.context import Exit, fail

if TYPE_CHECKING:
    from core.engine.founding import Present, Wanted
    from core.wallets.secrets import RecoveryKey
    from core.wallets.seed import Seed

PASSWORD_VARIABLE: Final = "WALLET_BACKUP_PASSWORD"
_TRIES: Final = 3
_LARGEST: Final = 4096
_BACK: Final = {12: 3, 24: 4}  # words asked back, by how many there are


class Flags(NamedTuple):
    """What was asked for on the command line; nothing: everything is asked."""

    watch_only: bool = False
    words: int = 0
    imports: bool = False
    password_file: Path | None = None
    recovery: bool = False
    recovery_file: Path | None = None

    def check(self) -> None:
        """Refuse flags that contradict each other."""
        if self.words not in {0, 12, 24}:
            raise fail("--words is 12 or 24.", Exit.USAGE)
        if sum((self.watch_only, bool(self.words), self.imports)) > 1:
            raise fail("Give one of --watch-only, --words and --import.", Exit.USAGE)
        if self.recovery and self.recovery_file:
            raise fail("Give one of --recovery-key and --recovery-key-file.", Exit.USAGE)
        if self.recovery and not dialogue.is_terminal():
            raise fail(
                "A recovery key is shown on a terminal, and there is none; --recovery-key-file "
                "writes it to a new file that only you can read.",
                Exit.USAGE,
            )
        if self.recovery_file is not None and self.recovery_file.exists():
            raise fail(f"{self.recovery_file} is there already; it was not touched.", Exit.USAGE)


def talk(flags: Flags, present: Present) -> Wanted:
    """Ask for what the flags leave open. Nothing is written by this."""
    from core.engine.founding import Wanted

    if present.fingerprint:
        if flags.words or flags.imports:
            raise fail(
                f"There is a seed here already ({present.fingerprint[:8]}); it was not touched.",
                Exit.USAGE,
            )
        return Wanted(password=None if present.has_key else password_of_seed(flags, present))
    seed, imported = _seed(flags)
    needed = seed is not None or (flags.password_file is not None and not present.has_key)
    if not needed and not present.has_key and dialogue.is_terminal() and not flags.watch_only:
        output.say("Backups are encrypted under a password.")
        needed = dialogue.agree("Set it now, so that backups can be made", default=True)
    password = new_password(flags) if needed else None
    recovery = new_recovery(flags) if password is not None else None
    return Wanted(seed, password, recovery, imported)


# --- the seed --------------------------------------------------------------------------------


def _seed(flags: Flags) -> tuple[Seed | None, bool]:
    if flags.imports:
        return _imported(), True
    if flags.words:
        return _generated(flags.words), False
    if flags.watch_only or not dialogue.is_terminal():
        return None, False
    output.say("Agents' wallets can be derived from one seed of words that you keep on paper.")
    output.say("  1  make a new seed")
    output.say("  2  import the words of a seed you have")
    output.say("  3  none: only watch addresses (a seed can be made later: bursar seed create)")
    while True:
        choice = dialogue.ask("Which", "1")
        if choice == "1":
            return _generated(24), False
        if choice == "2":
            return _imported(), True
        if choice == "3":
            return None, False


def _generated(words: int) -> Seed:
    from core.wallets.seed import Seed

    seed = Seed.generate(words)
    if not dialogue.is_terminal():
        output.warn(
            "bursar: there is no terminal to show the seed's words on. The seed will be in its "
            "vault and in backups only: keep backups in a second place, and the password."
        )
        return seed
    output.say(f"{words} words are shown next, once. Have paper and a pen ready; take no picture.")
    dialogue.ask("Press Enter to see them")
    with dialogue.secret_screen("The seed. Write the words down in this order."):
        _show_until_known(seed.words().reveal().split())
    output.say("The words were written down and proven.")
    return seed


def _show_until_known(words: list[str]) -> None:
    """Show the words, ask some of them back, and again until they are right."""
    while True:
        dialogue.show(dialogue.columns_of(words))
        dialogue.show(["", "Whoever has these words has the funds. They are not shown again."])
        dialogue.ask("Press Enter when they are on paper")
        dialogue.wipe()
        if _asked_back(words):
            dialogue.wipe()
            return
        dialogue.wipe()


def _asked_back(words: list[str]) -> bool:
    """Some of the words, chosen at random; False: they are to be shown again."""
    places = sorted(random.SystemRandom().sample(range(len(words)), _BACK[len(words)]))
    for place in places:
        while True:
            typed = dialogue.ask(f"Word {place + 1} (or ? to see all again)")
            if typed == "?":
                return False
            if typed.lower() == words[place]:
                break
            dialogue.show(["That is not the word. Look at the paper."])
    return True


def _imported() -> Seed:
    from core.wallets.seed import Seed

    if not dialogue.is_terminal():
        return Seed.from_words(dialogue.piped_secret("the words of the seed"))
    for left in range(_TRIES, 0, -1):
        typed = dialogue.hidden("The words, in order, in one line (they are not shown)")
        try:
            return Seed.from_words(typed)
        except BursarError as error:
            if left == 1:
                raise
            output.say(str(error))
    raise AssertionError("the last try returns or raises")


# --- what opens it -----------------------------------------------------------------------------


def given_password(file: Path | None) -> Secret | None:
    """The password from a private file or the environment; None where neither gives one."""
    from core.wallets import private_files

    if file is not None:
        content = private_files.read(file.expanduser().absolute(), _LARGEST)
        try:
            return Secret(content.decode("utf-8").rstrip("\r\n"))
        except UnicodeDecodeError:
            raise fail(f"{file} is no text in UTF-8.", Exit.USAGE) from None
    if text := os.environ.get(PASSWORD_VARIABLE):
        output.warn(
            f"bursar: the password was taken from ${PASSWORD_VARIABLE}. Other processes may see "
            "it there; use --password-file or the keyboard."
        )
        return Secret(text)
    return None


def new_password(flags: Flags) -> Secret:
    from core.wallets.passwords import check_password

    password = given_password(flags.password_file)
    if password is None and not dialogue.is_terminal():
        password = dialogue.piped_secret("the password")
    if password is not None:
        check_password(password)
        return password
    output.say("A password opens the seed and the backups: 16 characters or more, hard to guess.")
    while True:
        typed = dialogue.hidden("Password (Enter alone: be offered one)")
        if not typed.reveal():
            _offer()
            continue
        try:
            check_password(typed)
        except BursarError as error:
            output.say(str(error))
            continue
        if dialogue.hidden("The same again") == typed:
            return typed
        output.say("The two are not the same; neither was taken.")


def _offer() -> None:
    from core.wallets.passwords import suggest_password

    with dialogue.secret_screen("A random phrase. Keep it with your other passwords."):
        dialogue.show([f"  {suggest_password().reveal()}", ""])
        dialogue.ask("Press Enter when you have it; then it is typed twice")


def password_of_seed(flags: Flags, present: Present) -> Secret | None:
    """The password of a seed that is there, for the backup key that is not."""
    password = given_password(flags.password_file)
    if password is not None or not dialogue.is_terminal():
        return password
    output.say(f"There is a seed here ({present.fingerprint[:8]}) and no backup key yet.")
    return dialogue.hidden("The seed's password, to make the backup key")


def new_recovery(flags: Flags) -> RecoveryKey | None:
    from core.wallets.secrets import RecoveryKey

    if flags.recovery_file is not None:
        return RecoveryKey.generate()
    if not flags.recovery:
        if not dialogue.is_terminal() or flags.password_file is not None:
            return None
        output.say("A recovery key, kept on paper, opens what the password opens if that is lost.")
        if not dialogue.agree("Make one", default=False):
            return None
    key = RecoveryKey.generate()
    text = key.text().reveal()
    groups = text.split("-")
    with dialogue.secret_screen("The recovery key. Write it down; it is not shown again."):
        while True:
            half = len(groups) // 2
            dialogue.show([f"  {'-'.join(groups[:half])}-", f"  {'-'.join(groups[half:])}", ""])
            dialogue.ask("Press Enter when it is on paper")
            dialogue.wipe()
            if dialogue.ask("Type its last group").upper() == groups[-1]:
                return key
            dialogue.wipe()


def write_recovery(path: Path, key: RecoveryKey) -> None:
    """Put the recovery key into a new file that only its owner can read."""
    from core.wallets import private_files

    private_files.create(path.expanduser().absolute(), f"{key.text().reveal()}\n".encode())
