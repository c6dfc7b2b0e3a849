"""`bursar init` and `bursar doctor`: a first configuration, and what is wrong with this one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from tui.cli import output
from tui.cli.context import Exit, context, engine, fail, run

TEMPLATE = """\
# Bursar's settings. Every key can also be set as an environment variable, BURSAR_SECTION__KEY
# (BURSAR_POLLING__INTERVAL=10s, BURSAR_CHAIN__BASE__ENDPOINTS=https://a,https://b).
# `bursar doctor` checks this file, the endpoints and the data directory.

data_dir = "{data_dir}"

[polling]
interval = "30s"            # time between two readings of a chain

[ui]
environment = "{environment}"  # shown in the status bar; "production" gets a red frame

# A chain: any name, a kind (evm, xrpl, tron), endpoints in order of preference.
# Keys belong in the environment: "https://example.org/v2/${{MY_KEY}}".
#
# [[chain]]
# name = "base"
# kind = "evm"
# endpoints = ["https://mainnet.base.org", "https://base.publicnode.com"]
# explorer = "https://basescan.org/address/{{address}}"
#
# [[chain]]
# name = "xrpl"
# kind = "xrpl"
# endpoints = ["wss://xrplcluster.com"]
#
# [[chain]]
# name = "tron"
# kind = "tron"
# endpoints = ["https://api.trongrid.io"]

# An asset on a chain; without `contract` it is the chain's native coin.
#
# [[asset]]
# chain = "base"
# symbol = "ETH"
# decimals = 18
# floor = "0.01"            # below it an agent is a problem
# target = "0.05"           # what a top-up brings it to (bursar topup)
#
# [[asset]]
# chain = "base"
# symbol = "USDC"
# contract = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
# decimals = 6
# floor = "50"
# target = "200"
# price = "1.00"            # optional fixed unit price for one total, marked as configured
# groups.trading.floor = "500"

[settlement]
node_id = "{node_id}"       # names this installation in its events
"""


def register(app: typer.Typer) -> None:
    """Put the commands on the command line."""
    app.command()(init)
    app.command()(doctor)


def init(
    data_dir: Annotated[str, typer.Option(help="Where the data shall live.")] = (
        "~/.local/share/bursar"
    ),
    environment: Annotated[str, typer.Option(help="Such as production or staging.")] = "",
) -> None:
    """Write a commented configuration and create the data directory (watch-only)."""
    import socket

    from core.config import parse_settings
    from core.engine import EngineMode

    xdg = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    default = Path(xdg).expanduser() / "bursar" / "bursar.toml"
    path = Path(context.config).expanduser() if context.config else default
    if path.exists():
        raise fail(f"{path} exists already; nothing was changed.", Exit.USAGE)
    quoted = [text.replace("\\", "\\\\").replace('"', '\\"') for text in (data_dir, environment)]
    text = TEMPLATE.format(
        data_dir=quoted[0], environment=quoted[1], node_id=socket.gethostname().split(".")[0]
    )
    settings = parse_settings(text, str(path), {})

    async def prepare() -> None:
        async with engine(settings, EngineMode.COMMAND):
            pass  # opening it made directory and database

    run(prepare)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        output.write_file(path, text)
    except OSError as error:
        raise fail(f"{path} cannot be written: {error.strerror}") from error
    output.say(f"Wrote {path} and prepared {settings.data_path}.")
    output.say("Next: name your chains and assets in it, then `bursar wallets import FILE.csv`,")
    output.say("then `bursar doctor`, then `bursar`.")


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Checks and settings as JSON.")] = False,
) -> None:
    """Check settings, data directory, database, clock, endpoints and assets; say what is wrong."""
    from core.config import masked
    from core.engine.doctor import Verdict, examine

    settings = context.settings()
    checks = run(lambda: examine(settings))
    bad = sum(check.verdict is Verdict.BAD for check in checks)
    if as_json:
        output.write_json({"checks": checks, "settings": masked(settings), "problems": bad})
    else:
        signs = {Verdict.GOOD: "ok  ", Verdict.NOTE: "note", Verdict.BAD: "BAD "}
        for check in checks:
            output.say(f"{signs[check.verdict]}  {check.name}: {check.finding}")
            if check.advice:
                output.say(f"      {check.advice}")
        _say_settings(masked(settings))
        output.say(f"{bad} problems found." if bad != 1 else "1 problem found.")
    if bad:
        raise typer.Exit(int(Exit.FAILED))


def _say_settings(tree: dict[str, object], prefix: str = "") -> None:
    """The effective settings as `section.key = value` lines; empty ones are left out."""
    if not prefix:
        output.say("")
        output.say("Effective settings:")
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            _say_settings(value, f"{name}.")
        elif isinstance(value, list | tuple) and value and isinstance(value[0], dict):
            for entry in value:
                label = entry.get("name") or "/".join(
                    str(entry[part]) for part in ("chain", "symbol") if part in entry
                )
                kept = {k: v for k, v in entry.items() if v not in (None, "", (), [], {})}
                _say_settings(kept, f"{name}[{label}].")
        elif value not in (None, "", (), []):
            output.say(f"  {name} = {value}")
