"""The command line: one thin function per command; the work is in core.

`main` is the entry point. Errors that Bursar raises on purpose are printed as one line, never as
a traceback; exit codes are in `context.Exit`. Heavy modules are imported by the commands that
need them, so that the desk's first paint and `--help` stay quick.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from core.config import ConfigError
from core.model import BursarError
from tui.cli import (
    alerts,
    backups,
    balances,
    ledger,
    restore,
    seed,
    settlements,
    setup,
    wallets,
)
from tui.cli.context import Exit, context, fail
from tui.cli.hardening import harden

EPILOG = (
    "Exit codes: 0 done, 1 failed (doctor: a problem was found), 2 wrong use, settings or input "
    "and nothing was changed, 3 done in part."
)

app = typer.Typer(
    name="bursar",
    help="A terminal treasury desk for fleets of AI-agent wallets.",
    epilog=EPILOG,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(wallets.app, name="wallets")
app.add_typer(seed.app, name="seed")
app.add_typer(ledger.app, name="ledger")
app.add_typer(settlements.app, name="settlements")
app.add_typer(alerts.app, name="alerts")
app.add_typer(backups.app, name="backup")
app.add_typer(alerts.audit_app, name="audit")
restore.register(backups.app)
setup.register(app)
balances.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"bursar {version('bursar')}\n")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def desk(
    call: typer.Context,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="Settings to use.")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="No key that writes.")] = False,
    safe: Annotated[
        bool, typer.Option("--safe", help="ANSI colours, ASCII graphs, slow refresh.")
    ] = False,
    slow: Annotated[bool, typer.Option("--slow", help="Refresh every 5 s.")] = False,
    no_mouse: Annotated[bool, typer.Option("--no-mouse", help="Leave the mouse alone.")] = False,
    theme: Annotated[str, typer.Option("--theme", help="A theme by name.")] = "",
    start_filter: Annotated[str, typer.Option("--filter", help="Filter at the start.")] = "",
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print and exit.")
    ] = False,
) -> None:
    """Open the desk (attached to a running engine of this data directory, else hosting one)."""
    context.config = config
    if call.invoked_subcommand is not None:
        return
    from tui.cli.desk import Look, open_desk

    look = Look(read_only, safe, slow, not no_mouse, theme, start_filter)
    raise typer.Exit(open_desk(context.settings(), look))


@app.command()
def demo(
    agents: Annotated[int, typer.Option(min=1, max=100_000, help="How many agents.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed gives the same fleet.")] = 1,
    minutes: Annotated[
        float, typer.Option(min=0, help="Stop after so many minutes; 0: never.")
    ] = 0,
    safe: Annotated[bool, typer.Option("--safe", help="ANSI colours, ASCII graphs.")] = False,
    slow: Annotated[bool, typer.Option("--slow", help="Refresh every 5 s.")] = False,
    no_mouse: Annotated[bool, typer.Option("--no-mouse", help="Leave the mouse alone.")] = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="No key that writes.")] = False,
    theme: Annotated[str, typer.Option("--theme", help="A theme by name.")] = "",
) -> None:
    """Open the desk on a simulated fleet: three chains, live traffic, incidents. Keeps nothing."""
    from tui.cli.desk import Look, open_demo

    look = Look(read_only, safe, slow, not no_mouse, theme, "")
    raise typer.Exit(open_demo(agents, seed, minutes, look))


@app.command("run")
def run_engine() -> None:
    """Run the engine without a screen (for systemd); desks attach to it."""
    from tui.cli.desk import serve

    raise typer.Exit(serve(context.settings()))


def main() -> None:
    """Entry point of the `bursar` command."""
    harden()
    try:
        app()
    except ConfigError as error:
        sys.exit(fail(error, Exit.USAGE).exit_code)
    except BursarError as error:
        sys.exit(fail(error).exit_code)
    except BrokenPipeError:
        # The reader of a pipe went away (`| head`): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(int(Exit.FAILED))
