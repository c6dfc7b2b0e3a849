"""The ledger as files on the command line: export, import, migrate, check.

`export` and `import` go through an engine; `check` and `migrate` work on the files of the data
directory themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.model import BursarError
from tui.cli import output
from tui.cli.context import Exit, context, engine, fail, run

if TYPE_CHECKING:
    from core.ledger.check import Report

DEFAULT_FILE = Path("data/ledger-snapshot.json")


def register(app: typer.Typer) -> None:
    """Put the commands under `bursar ledger`."""
    app.command()(export)
    app.command("import")(import_file)
    app.command()(migrate)
    app.command()(check)


def export(
    file: Annotated[Path, typer.Argument(help="Where to write; - for standard output.")] = (
        DEFAULT_FILE
    ),
) -> None:
    """Write the posted totals of every account in the plain interchange form."""
    from core.engine import EngineMode
    from core.ledger.interchange import Totals, render, write_file

    async def work() -> list[Totals]:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            return [
                Totals(int(row.id), int(row.debits_posted), int(row.credits_posted))
                for row in await api.ledger_totals()
            ]

    totals = run(work)
    if str(file) == "-":
        typer.echo(render(totals), nl=False)
        return
    try:
        write_file(file, totals)
    except OSError as error:
        raise fail(f"{file} cannot be written: {error.strerror or error}.") from error
    output.say(f"Wrote {len(totals):,} accounts to {file}.")


def import_file(
    file: Annotated[Path, typer.Argument(help="A file in the interchange form.")] = DEFAULT_FILE,
    peer: Annotated[
        list[str] | None,
        typer.Option(help="A peer that the settings do not name; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Start the empty ledger from a file; ids of nobody known are listed and kept as foreign."""
    from core.api import AccountTotals, ImportTotals, Outcome
    from core.engine import EngineMode
    from core.ledger.interchange import InterchangeError, parse
    from core.model import Amount

    try:
        totals = parse(str(file), file.read_bytes())
    except (OSError, InterchangeError) as error:
        raise fail(f"{file} cannot be imported: {error}", Exit.USAGE) from error
    rows = tuple(
        AccountTotals(str(t.id), Amount(t.debits_posted), Amount(t.credits_posted)) for t in totals
    )

    async def work() -> Outcome:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            return await api.execute(ImportTotals(rows, tuple(peer or ())))

    outcome = run(work)
    if as_json:
        output.write_json(outcome)
        return
    output.say(outcome.message)
    for id_ in outcome.details:
        output.say(f"foreign: {id_}")


def migrate(
    to: Annotated[str, typer.Option("--to", help="The backend to carry the ledger to.")],
    cluster_id: Annotated[
        int | None, typer.Option(help="Instead of [ledger.tigerbeetle] cluster_id.")
    ] = None,
    replicas: Annotated[
        str, typer.Option(help="host:port,... instead of [ledger.tigerbeetle] replicas.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Carry the embedded ledger over to TigerBeetle, timestamps included, and compare all of it.
    The engine must be stopped; packets with a time-out must not be pending."""
    from core.clock import SystemClock
    from core.engine.ledger_io import ledger_folder, migrate_files
    from core.ledger import TigerBeetleLedger
    from core.ledger.migration import MigrationReport
    from core.store.directory import DataDirectory, DirectoryInUseError

    if to != "tigerbeetle":
        raise fail(f"A ledger can be carried to tigerbeetle, not to {to!r}.", Exit.USAGE)
    settings = context.settings()
    cluster = settings.ledger.tigerbeetle
    number = cluster.cluster_id if cluster_id is None else cluster_id
    where = replicas or ",".join(cluster.replicas)
    if number is None or not where:
        raise fail(
            "Name the cluster: --cluster-id and --replicas, or TIGERBEETLE_CLUSTER_ID and "
            "TIGERBEETLE_REPLICAS.",
            Exit.USAGE,
        )
    directory = DataDirectory(settings.data_path)
    folder = ledger_folder(directory.generation())
    target = TigerBeetleLedger(number, where)

    async def work() -> MigrationReport:
        try:
            directory.acquire()
        except DirectoryInUseError as error:
            raise BursarError(f"{error} Stop it first: nothing may be booked meanwhile.") from error
        try:
            return await migrate_files(folder, target, SystemClock())
        finally:
            directory.release()

    report = run(work)
    if as_json:
        output.write_json(report)
        return
    for line in report.lines():
        output.say(line)
    output.say("Set TIGERBEETLE_CLUSTER_ID and TIGERBEETLE_REPLICAS and start the engine.")


def check(
    directory: Annotated[
        Path | None, typer.Argument(help="A ledger's directory (default: the one in use).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Read journal and snapshots to their end; exits 1 on damage. Needs no engine, changes
    nothing."""
    from core.engine.ledger_io import check_files, ledger_folder
    from core.store.directory import DataDirectory

    folder = directory or ledger_folder(DataDirectory(context.settings().data_path).generation())
    try:
        report = check_files(folder)
    except OSError as error:
        raise fail(f"{folder} cannot be read: {error.strerror or error}.") from error
    if report is None:
        if directory is not None:
            raise fail(f"{folder} is no directory.", Exit.USAGE)
        output.say(f"{folder}: there is no embedded ledger yet.")
        return
    if as_json:
        output.write_json(report)
    else:
        _say_report(report)
    if report.damage:
        raise typer.Exit(int(Exit.FAILED))


def _say_report(report: Report) -> None:
    for file in report.files:
        records = f"records {file.first} to {file.last}" if file.records else "no records"
        if file.file.endswith(".bin"):
            records = f"snapshot after record {file.last}"
        output.say(f"ok    {file.file}: {records}, {file.size:,} bytes")
    for notice in report.notices:
        output.say(f"note  {notice}")
    for damage in report.damage:
        output.say(f"BAD   {damage.file}: {damage.what} at byte {damage.offset}")
    if report.damage:
        output.say(
            f"{len(report.damage)} damaged places; nothing was changed. Restore the ledger's "
            "directory from a backup."
        )
    else:
        output.say(
            f"{report.accounts:,} accounts, {report.transfers:,} transfers; sealed up to record "
            f"{report.sealed_upto}."
        )
