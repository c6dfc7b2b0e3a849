"""`bursar backup ...`: backups made, listed, proven and pruned, and the key that opens them.

Every command speaks to the running engine, or to one hosted for the command; so a timer, a desk
and an operator at once make one backup.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from core.events import Json, iso_utc
from core.model import Secret
from tui.cli import dialogue, founding, output
from tui.cli.context import Exit, context, engine, fail, run

if TYPE_CHECKING:
    from core.api import BackupsView, BackupView, Command, EngineApi, EngineState, Outcome
    from core.wallets.secrets import RecoveryKey

T = TypeVar("T")

app = typer.Typer(
    help="Backups: make, list, verify, show, prune; the key that opens them.",
    no_args_is_help=True,
    epilog=(
        "Exit codes: 0 done, 1 failed, 2 wrong use and nothing was changed, 3 done in part: some "
        "destination lacks it (it is tried again), or some copy could not be proven or deleted."
    ),
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
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


# --- making and proving ------------------------------------------------------------------------


@app.command()
def create(
    full: Annotated[bool, typer.Option("--full", help="Everything (the default).")] = False,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="What differs from the newest backup.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a backup now and send it to every destination."""
    from core.api import CreateBackup

    if full and incremental:
        raise fail("Give one of --full and --incremental.", Exit.USAGE)
    _give(CreateBackup("incremental" if incremental else "full"), "backup", as_json)


@app.command("run-due")
def run_due(as_json: AsJson = False) -> None:
    """Make what the schedule asks for, and send again what could not be sent (for a timer)."""
    from core.api import RunDueBackups

    _give(RunDueBackups(), "backup", as_json)


@app.command()
def verify(
    backup: Annotated[
        str, typer.Argument(metavar="[ID]", help="An id or its beginning; the newest if left out.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Fetch every copy of a backup and of what it was made upon; decrypt and check all of it."""
    from core.api import VerifyBackup

    _give(VerifyBackup(backup), "verify", as_json)


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete the backups that no rule of retention keeps."""
    from core.api import PruneBackups

    if not dry_run:
        _give(PruneBackups(dry_run=False), "prune", as_json)
        return
    outcome = _through_engine(lambda api: api.execute(PruneBackups(dry_run=True)))
    if as_json:
        output.write_json(outcome)
        return
    for line in outcome.details:
        output.say(line)
    output.say(outcome.message)


def _give(command: Command, job: str, as_json: bool) -> None:
    from tui.cli.progress import followed

    async def ask(api: EngineApi) -> Outcome:
        return await followed(api, lambda: api.execute(command), job)

    _say(_through_engine(ask), as_json)


def _say(outcome: Outcome, as_json: bool) -> None:
    """The outcome; where a part was not done, that and exit code 3."""
    if as_json:
        output.write_json(outcome)
    else:
        output.say(outcome.message)
        for line in outcome.details:
            output.warn(line)
    if outcome.details:
        raise typer.Exit(int(Exit.PARTIAL))


# --- looking -----------------------------------------------------------------------------------


@app.command("list")
def list_backups(as_json: AsJson = False) -> None:
    """Every backup the catalogue knows, newest first, and where it is."""
    state = _state()
    view = _view(state)
    if as_json:
        output.write_json([row_of(backup) for backup in view.backups])
        return
    from tui.text import age

    output.write_table(
        ["ID", "TYPE", "MADE", "AGE", "WALLETS", "BYTES", "CHAIN", "VERIFIED", "DRILLED", "AT"],
        [
            [
                backup.id,
                backup.type,
                iso_utc(backup.created_ms)[:19].replace("T", " "),
                age(state.now_ms - backup.created_ms),
                f"{backup.wallets:,}",
                f"{backup.size:,}",
                str(backup.chain) if backup.chain else "broken",
                _day(backup.verified_ms),
                _day(backup.drilled_ms),
                ", ".join(_at(backup)),
            ]
            for backup in view.backups
        ],
        right=("AGE", "WALLETS", "BYTES", "CHAIN"),
        empty="There is no backup yet.",
    )
    if view.off:
        output.warn(view.off)
    elif view.trouble:
        output.warn(view.trouble)
    else:
        coming = min(view.next_full_ms, view.next_incremental_ms)
        output.say(f"The next backup is due {iso_utc(coming)}.")


def _day(time_ms: int) -> str:
    return iso_utc(time_ms)[:10] if time_ms else "never"


def _at(backup: BackupView) -> list[str]:
    return [
        copy.destination if copy.state != "pending" else f"{copy.destination} (waiting)"
        for copy in backup.copies
    ]


@app.command()
def show(
    backup: Annotated[str, typer.Argument(metavar="ID", help="An id or a clear beginning of it.")],
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Decrypt it and print its content in the classic form."),
    ] = False,
) -> None:
    """What is known of a backup; with --json, what is in it."""
    from core.backup.showing import write_classic

    settings = context.settings()
    view = _view(_state())
    found = [each for each in view.backups if each.id.startswith(backup)]
    if len(found) != 1:
        what = f"{len(found)} backups begin with" if found else "There is no backup"
        raise fail(f"{what} {backup}; see `bursar backup list`.")
    if as_json:
        run(lambda: write_classic(settings, found[0].id, sys.stdout.write))
        return
    for name, value in row_of(found[0]).items():
        if name != "destinations":
            output.say(f"{name}: {'-' if value is None else value}")
    for copy in found[0].copies:
        output.say(f"{copy.destination}: {copy.state}{f' ({copy.error})' if copy.error else ''}")


def row_of(backup: BackupView) -> dict[str, Json]:
    """A backup in the public form of `--json`."""
    return {
        "id": backup.id,
        "name": backup.name,
        "type": backup.type,
        "createdAt": iso_utc(backup.created_ms),
        "size": backup.size,
        "wallets": backup.wallets,
        "parentId": backup.parent or None,
        "seedFingerprint": backup.seed_fingerprint or None,
        "chainLength": backup.chain or None,
        "durableAt": _iso(backup.durable_ms),
        "verifiedAt": _iso(backup.verified_ms),
        "drilledAt": _iso(backup.drilled_ms),
        "destinations": [
            {
                "name": copy.destination,
                "state": copy.state,
                "attempts": copy.attempts,
                "nextTryAt": _iso(copy.next_try_ms),
                "error": copy.error or None,
            }
            for copy in backup.copies
        ],
    }


def _iso(time_ms: int) -> str | None:
    return iso_utc(time_ms) if time_ms else None


def _view(state: EngineState) -> BackupsView:
    if state.backups is None:
        raise fail("The engine that runs here knows no backups; is it of another version?")
    return state.backups


def _state() -> EngineState:
    from core.engine import EngineMode

    async def work() -> EngineState:
        async with engine(context.settings(), EngineMode.READ) as api:
            return await api.state()

    return run(work)


# --- the key -----------------------------------------------------------------------------------


@app.command()
def setup(
    password_file: PasswordFile = None,
    recovery_key: Recovery = False,
    recovery_key_file: RecoveryFile = None,
    create: Annotated[
        bool, typer.Option("--create", help="Make the first full backup at once.")
    ] = False,
) -> None:
    """Make the backup key, opened by a password; where there is a seed, by the seed's."""
    from core.engine.founding import look

    flags = founding.Flags(
        password_file=password_file, recovery=recovery_key, recovery_file=recovery_key_file
    )
    flags.check()
    settings = context.settings()
    present = look(settings)
    if present.has_key:
        raise fail("There is a backup key already; `bursar backup rekey` changes its password.",
                   Exit.USAGE)  # fmt: skip
    if present.fingerprint and (recovery_key or recovery_key_file):
        raise fail(
            "There is a seed here, and its recovery key was made with it; `bursar backup rekey` "
            "gives both a new one.",
            Exit.USAGE,
        )
    if present.fingerprint:
        password = founding.password_of_seed(flags, present) or dialogue.piped_secret(
            "the seed's password"
        )
        recovery = None
    else:
        password = founding.new_password(flags)
        recovery = founding.new_recovery(flags)

    async def make(api: EngineApi) -> Outcome:
        return await api.set_up_backups(password, _text(recovery), create=create)

    _say(_with_recovery(recovery, recovery_key_file, make), as_json=False)


@app.command()
def rekey(
    password_file: Annotated[
        Path | None, typer.Option(help="A file with the password or recovery key of now.")
    ] = None,
    new_password_file: Annotated[
        Path | None, typer.Option(help="A file with the new password.")
    ] = None,
    recovery_key: Recovery = False,
    recovery_key_file: RecoveryFile = None,
    copies_only: Annotated[
        bool,
        typer.Option("--copies-only", help="Only give older backups the key's slots."),
    ] = False,
) -> None:
    """Another password (and recovery key) for seed and backups, those that exist included."""
    from core.api import CreateBackup, RekeyBackups

    if not copies_only:
        _change_password(password_file, new_password_file, recovery_key, recovery_key_file)
    _give(RekeyBackups(), "rekey", False)
    if not copies_only:
        # The seed inside older backups is as it was: under the old password.
        output.say("The seed inside older backups keeps its old password; making a full one now.")
        _give(CreateBackup("full"), "backup", False)


def _change_password(
    current_file: Path | None, new_file: Path | None, recovery: bool, recovery_file: Path | None
) -> None:
    flags = founding.Flags(password_file=new_file, recovery=recovery, recovery_file=recovery_file)
    flags.check()
    current = (founding.given_password(current_file) if current_file else None) or _asked()
    password = founding.new_password(flags)
    made = founding.new_recovery(flags)

    async def change(api: EngineApi) -> Outcome:
        return await api.change_password(current, password, _text(made))

    outcome = _with_recovery(made, recovery_file, change)
    output.say(outcome.message)
    for line in outcome.details:  # about copies that are out of reach: nothing is undone
        output.warn(line)


def _asked() -> Secret:
    """The password of now, typed or from a pipe."""
    what = "The password (or recovery key) of now"
    return dialogue.hidden(what) if dialogue.is_terminal() else dialogue.piped_secret(what)


def _with_recovery(
    recovery: RecoveryKey | None, file: Path | None, ask: Callable[[EngineApi], Awaitable[T]]
) -> T:
    """Write the recovery key to its file, then do it; no file stays behind what failed."""
    if recovery is None or file is None:
        return _through_engine(ask)
    founding.write_recovery(file, recovery)
    try:
        return _through_engine(ask)
    except BaseException:
        with suppress(OSError):  # the reason above is the one to tell
            file.unlink()
        raise


def _text(recovery: RecoveryKey | None) -> Secret:
    return Secret("") if recovery is None else recovery.text()


def _through_engine(ask: Callable[[EngineApi], Awaitable[T]]) -> T:
    from core.engine import EngineMode

    async def work() -> T:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            return await ask(api)

    return run(work)
