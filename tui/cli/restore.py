"""`bursar backup restore`, `drill`, `reconciliation`: going back, and proving that it would work.

The steps are those of the desk: a plan that changes nothing, a confirmation, the swap, and the
comparison with the chains. A password comes from a prompt, a file or a descriptor, never from the
command line.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from core.events import iso_utc
from core.model import Secret
from tui.cli import dialogue, founding, output
from tui.cli.context import Exit, context, engine, fail, run

if TYPE_CHECKING:
    from core.api import EngineApi, Outcome, ReconciliationView, RestorePlan, RestoreResult

T = TypeVar("T")

_PATIENCE_S = 60.0
_MOST_PASSWORD_BYTES = 4096
_SHOWN = 20

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PasswordFile = Annotated[
    Path | None,
    typer.Option(help="A file with the password or recovery key, that only you can read."),
]
PasswordFd = Annotated[
    int | None, typer.Option(help="A file descriptor to read the password or recovery key from.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `bursar backup`."""
    app.command()(restore)
    app.command()(drill)
    app.command()(reconciliation)


def restore(
    source: Annotated[
        str,
        typer.Argument(help="A destination's name, a backup file, or a folder with backups."),
    ] = "",
    backup: Annotated[
        str, typer.Option("--id", help="An id or its beginning; the newest if left out.")
    ] = "",
    ledger: Annotated[
        str,
        typer.Option(help='"keep" the running ledger where it is whole, or "checkpoint".'),
    ] = "keep",
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of what is there.")
    ] = False,
    name: Annotated[
        str, typer.Option(help="The installation's name, typed to confirm; else it is asked for.")
    ] = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask where nothing is replaced.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Go back to the state before the last restore.")
    ] = False,
    password_file: PasswordFile = None,
    password_fd: PasswordFd = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup: prove it, say what would change, and put it in force at one instant."""
    from core.api import RestoreRequest

    if undo == bool(source):
        raise fail("Give a SOURCE, or --undo; nothing was changed.", Exit.USAGE)
    if undo:
        _undo(name, as_json)
        return
    if ledger not in {"keep", "checkpoint"}:
        raise fail('--ledger is "keep" or "checkpoint"; nothing was changed.', Exit.USAGE)
    password = _password(password_file, password_fd)
    request = RestoreRequest(_absolute(source), backup, ledger)

    async def work(api: EngineApi) -> None:
        from tui.cli.progress import followed

        plan = await followed(api, lambda: api.plan_restore(request, password), "restore")
        if not as_json:
            _show_plan(plan)
        try:
            if dry_run:
                if as_json:
                    output.write_json({"plan": plan})
                return
            typed = _confirmed(plan, replace=replace, name=name, yes=yes)
            result = await api.apply_restore(plan.id, typed)
        finally:
            await api.discard_restore(plan.id)
        if not as_json:
            output.say(result.message)
        compared = await _compared(api)
        if as_json:
            output.write_json({"plan": plan, "result": result, "reconciliation": compared})
        elif compared is not None:
            _show_reconciliation(compared)
        _end(compared)

    _through_engine(work)


def _undo(name: str, as_json: bool) -> None:
    async def work(api: EngineApi) -> RestoreResult:
        state = await api.state()
        if state.backups is None or not state.backups.undo:
            raise fail("There is no restore that could be undone.", Exit.USAGE)
        typed = name or _typed(f"Type the installation's name ({state.node_id}) to go back")
        return await api.undo_restore(typed)

    result = _through_engine(work)
    if as_json:
        output.write_json(result)
    else:
        output.say(result.message)


def drill(
    backup: Annotated[
        str, typer.Argument(metavar="[ID]", help="An id or its beginning; the newest if left out.")
    ] = "",
    password: Annotated[
        bool, typer.Option("--password", help="Ask for the password, to prove the seed too.")
    ] = False,
    password_file: PasswordFile = None,
    password_fd: PasswordFd = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into a scratch folder and derive every address again; changes nothing."""
    wants = password or password_file is not None or password_fd is not None
    secret = _password(password_file, password_fd) if wants else Secret("")

    async def work(api: EngineApi) -> Outcome:
        from tui.cli.progress import followed

        return await followed(api, lambda: api.drill(backup, secret), "drill")

    outcome = _through_engine(work)
    if as_json:
        output.write_json(outcome)
    else:
        output.say(outcome.message)


def reconciliation(as_json: AsJson = False) -> None:
    """How the balances of the last restore compare with the chains."""

    async def work(api: EngineApi) -> ReconciliationView | None:
        return await api.reconciliation()

    found = _through_engine(work)
    if as_json:
        output.write_json(found)
    elif found is None:
        output.say("Nothing was restored here.")
    else:
        _show_reconciliation(found)
    _end(found)


# --- what is shown -----------------------------------------------------------------------------


def _show_plan(plan: RestorePlan) -> None:
    output.say(
        f"Backup {plan.backup.id} of {iso_utc(plan.backup.created_ms)}, {plan.backup.type}, from "
        f"{len(plan.chain)} archive{'s' * (len(plan.chain) != 1)}: {plan.wallets:,} wallets."
    )
    output.say(
        f"{plan.addresses:,} addresses were derived again and are equal; {plan.watch_only:,} are "
        "watch-only."
    )
    output.say(f"Seed: {plan.seed_fingerprint[:8] or 'none'}. Ledger: {plan.ledger}.")
    output.write_table(
        ["RECORDS", "ADDED", "CHANGED", "REMOVED", "SUCH AS"],
        [
            [
                change.kind,
                f"{change.added:,}",
                f"{change.changed:,}",
                f"{change.removed:,}",
                ", ".join(change.examples),
            ]
            for change in plan.changes
        ],
        right=("ADDED", "CHANGED", "REMOVED"),
        empty="Nothing differs from what is there.",
    )
    for warning in plan.warnings:
        output.warn(warning)


def _show_reconciliation(view: ReconciliationView) -> None:
    from tui.text import exact

    left = f", {view.pending:,} not looked at yet" if view.pending else ""
    output.say(
        f"Against the chains: {view.matched:,} match, {view.drifted:,} drifted, "
        f"{view.unknown:,} unknown{left}."
    )
    if not view.rows:
        return
    output.write_table(
        ["AGENT", "CHAIN", "TOKEN", "STATE", "RESTORED", "ON CHAIN", "BLOCK", "WHY"],
        [
            [
                row.agent,
                row.chain,
                row.token,
                row.state,
                "-" if row.expected is None else exact(row.expected, row.decimals),
                "-" if row.actual is None else exact(row.actual, row.decimals),
                str(row.block) if row.block else "-",
                row.reason,
            ]
            for row in view.rows[:_SHOWN]
        ],
        right=("RESTORED", "ON CHAIN", "BLOCK"),
    )
    if len(view.rows) > _SHOWN:
        output.say(f"... and {len(view.rows) - _SHOWN:,} more; --json has them all.")


def _end(view: ReconciliationView | None) -> None:
    """Exit code 3 where something drifted or could not be read."""
    if view is not None and (view.drifted or view.unknown or view.pending):
        raise typer.Exit(int(Exit.PARTIAL))


async def _compared(api: EngineApi) -> ReconciliationView | None:
    """The comparison with the chains, waited for a while: it goes on by itself."""
    ends = time.monotonic() + _PATIENCE_S
    while True:
        view = await api.reconciliation()
        if view is None or view.ended_ms or time.monotonic() > ends:
            return view
        await asyncio.sleep(0.25)


# --- what is asked -----------------------------------------------------------------------------


def _confirmed(plan: RestorePlan, *, replace: bool, name: str, yes: bool) -> str:
    """What has to be typed. Ends the command where it is not."""
    if not plan.confirm:
        if yes or not dialogue.is_terminal() or dialogue.agree("Restore it?", default=True):
            return ""
        raise fail("Nothing was changed.", Exit.USAGE)
    if not replace:
        raise fail(
            f"There is an installation here ({plan.confirm}). Give --replace to put the backup in "
            "its place; nothing was changed.",
            Exit.USAGE,
        )
    return name or _typed(f"Type the installation's name ({plan.confirm}) to replace it")


def _typed(question: str) -> str:
    if not dialogue.is_terminal():
        raise fail("Give the installation's name with --name; nothing was changed.", Exit.USAGE)
    return dialogue.ask(question)


def _password(file: Path | None, descriptor: int | None) -> Secret:
    if file is not None and descriptor is not None:
        raise fail("Give one of --password-file and --password-fd.", Exit.USAGE)
    if descriptor is not None:
        try:
            read = os.read(descriptor, _MOST_PASSWORD_BYTES)
        except OSError as error:
            raise fail(
                f"File descriptor {descriptor} cannot be read: {error.strerror}.", Exit.USAGE
            ) from error
        return Secret(read.decode("utf-8", "surrogateescape").splitlines()[0] if read else "")
    if (given := founding.given_password(file)) is not None:
        return given
    if not dialogue.is_terminal():
        return dialogue.piped_secret("the password")
    return dialogue.hidden("Password or recovery key of the backup")


def _absolute(source: str) -> str:
    """A path as this process sees it, for an engine that runs elsewhere; names stay names."""
    path = Path(source).expanduser()
    return str(path.absolute()) if path.exists() else source


def _through_engine(ask: Callable[[EngineApi], Awaitable[T]]) -> T:
    from core.engine import EngineMode

    async def work() -> T:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            return await ask(api)

    return run(work)
