"""`bursar alerts ...` and `bursar audit verify`: what is wrong now, and who did what about it."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from core.config import Duration
from tui.cli import output
from tui.cli.context import Exit, context, engine, fail, run

app = typer.Typer(help="Open alerts.", no_args_is_help=True)
audit_app = typer.Typer(help="The log of operator actions.", no_args_is_help=True)


@app.command("list")
def list_alerts(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Print the open alerts, oldest first."""
    from core.engine import EngineMode
    from tui import alerts as open_alerts

    async def work() -> None:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            found = (await api.state()).alerts
        now_ms = int(time.time() * 1000)
        rows = [open_alerts.as_json(alert, now_ms) for alert in found]
        if as_json:
            output.write_json(rows)
            return
        columns = ("id", "severity", "rule", "about", "message", "openedAt", "acknowledgedBy")
        output.write_table(
            [column.upper() for column in columns],
            [[str(row[column] or "") for column in columns] for row in rows],
            empty="No alert is open.",
        )

    run(work)


@app.command()
def ack(number: int, reason: Annotated[str, typer.Option(help="Kept in the audit log.")]) -> None:
    """Acknowledge an alert: it stays open and is loud no more."""
    from core.api import AcknowledgeAlert
    from core.engine import EngineMode

    async def work() -> None:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            output.say((await api.execute(AcknowledgeAlert(number, reason))).message)

    run(work)


@app.command()
def silence(
    number: int,
    reason: Annotated[str, typer.Option(help="Kept in the audit log.")],
    lasting: Annotated[str, typer.Option("--for", help="How long; 0s ends a silence.")] = "1h",
) -> None:
    """Silence an alert, and new ones of its rule and subject."""
    from core.api import SilenceAlert
    from core.engine import EngineMode

    try:
        span_ms = Duration.parse(lasting)
    except ValueError as error:
        raise fail(str(error), Exit.USAGE) from error
    until_ms = int(time.time() * 1000) + span_ms if span_ms else 0

    async def work() -> None:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            output.say((await api.execute(SilenceAlert(number, until_ms, reason))).message)

    run(work)


@audit_app.command()
def verify() -> None:
    """Check the chain of the audit log; name its first broken line."""
    from core.telemetry.audit import verify as verify_log

    path = context.settings().data_path / "audit.jsonl"
    if not path.exists():
        output.say("No operator action was recorded yet.")
        return
    found = verify_log(path)
    if not found.ok:
        raise fail(f"{path}:{found.broken_line}: {found.reason}")
    output.say(f"{path} is whole.")
