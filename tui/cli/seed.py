"""`bursar seed ...`: the one seed of this installation, made, proven and opened, never shown."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.config import Settings
from core.model import Secret
from tui.cli import dialogue, founding, output
from tui.cli.context import Exit, context, engine, fail, run

if TYPE_CHECKING:
    from core.engine.founding import Present, Wanted

app = typer.Typer(help="The seed that agents' wallets are derived from.", no_args_is_help=True)

WatchOnly = Annotated[
    bool, typer.Option("--watch-only", help="No seed: only watch addresses; ask nothing.")
]
Words = Annotated[
    int, typer.Option("--words", metavar="12|24", help="Make a new seed of so many words.")
]
Imports = Annotated[
    bool,
    typer.Option("--import", help="Take the words of a seed you have (typed, or a line of stdin)."),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(help="A file with the password that only you can read; else it is asked for."),
]
Recovery = Annotated[
    bool, typer.Option("--recovery-key", help="Also make a recovery key and show it once.")
]
RecoveryFile = Annotated[
    Path | None, typer.Option(help="Also make a recovery key and write it to this new file.")
]


@app.command()
def create(
    words: Words = 0,
    imports: Imports = False,
    password_file: PasswordFile = None,
    recovery_key: Recovery = False,
    recovery_key_file: RecoveryFile = None,
) -> None:
    """Give a watch-only installation a seed: a new one, or the words of one you have."""
    flags = founding.Flags(False, words, imports, password_file, recovery_key, recovery_key_file)
    flags.check()
    if not words and not imports and not dialogue.is_terminal():
        raise fail("Say --words or --import; there is no terminal to ask on.", Exit.USAGE)
    settings = context.settings()
    wanted = founding.talk(flags, examined(settings))
    if wanted.password is None:
        output.say("Nothing was made.")
        return
    with dialogue.uninterrupted():
        say_what_is_there(commit(settings, wanted, flags))


def examined(settings: Settings) -> Present:
    """What seed and key are there; refuses a data directory that an engine owns, because its
    seed must not come to it from behind."""
    from core.engine.founding import look
    from core.store.directory import DataDirectory

    if DataDirectory(settings.data_path).is_owned():
        raise fail(f"An engine runs on {settings.data_path}; stop it first.")
    return look(settings)


def commit(settings: Settings, wanted: Wanted, flags: founding.Flags) -> Present:
    """Write everything that was agreed; what is there then."""
    from core.engine.founding import found

    file = flags.recovery_file if wanted.recovery is not None else None
    if file is not None and wanted.recovery is not None:
        founding.write_recovery(file, wanted.recovery)
    try:
        return run(lambda: found(settings, wanted))
    except BaseException:
        if file is not None:
            with suppress(OSError):  # the reason above is the one to tell
                file.unlink()
        raise


def say_what_is_there(present: Present) -> None:
    """Which seed it is, and whether backups can be made."""
    if present.fingerprint:
        output.say(f"Seed {present.fingerprint[:8]} is in its vault; its password opens it.")
    else:
        output.say("Watch-only: there is no seed here.")
    if present.has_key:
        output.say("The backup key is there: the engine makes encrypted backups by itself.")


@app.command()
def verify(
    file: Annotated[
        Path | None, typer.Option(help="A file with the words that only you can read.")
    ] = None,
) -> None:
    """Prove that words (typed without being shown, from a file or a pipe) are this seed."""
    from core.engine import EngineMode

    words = _words(file)

    async def work() -> None:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            output.say((await api.verify_seed(words)).message)

    run(work)


def _words(file: Path | None) -> Secret:
    if file is not None:
        from core.wallets import private_files

        content = private_files.read(file.expanduser().absolute(), 4096)
        try:
            return Secret(content.decode("ascii"))
        except UnicodeDecodeError:
            raise fail(f"{file} holds other characters than words have.", Exit.USAGE) from None
    if dialogue.is_terminal():
        return dialogue.hidden("The words, in order, in one line (they are not shown)")
    return dialogue.piped_secret("the words")


@app.command()
def unlock(password_file: PasswordFile = None) -> None:
    """Open the vault once: proves the password, and derives account keys that are missing."""
    from core.engine import EngineMode

    password = founding.given_password(password_file)
    if password is None:
        is_asked = dialogue.is_terminal()
        prompt = "Password or recovery key"
        password = dialogue.hidden(prompt) if is_asked else dialogue.piped_secret("the password")
    opened_with = password

    async def work() -> None:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            output.say((await api.unlock_seed(opened_with)).message)

    run(work)


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="The checks as JSON.")] = False,
) -> None:
    """Say which seed is here and whether all addresses are its; needs no password."""
    from core.engine.seed_checks import seed_checks
    from core.engine.verdicts import Verdict

    settings = context.settings()
    checks = run(lambda: seed_checks(settings))
    if as_json:
        output.write_json(checks)
    else:
        output.say_checks(checks)
    if any(check.verdict is Verdict.BAD for check in checks):
        raise typer.Exit(int(Exit.FAILED))
