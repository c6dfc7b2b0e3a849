"""`bursar init` and `bursar doctor`: a first configuration, and what is wrong with this one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from core.config import Settings
from tui.cli import dialogue, founding, output, seed
from tui.cli.context import Exit, context, fail, run
from tui.cli.seed import Imports, PasswordFile, Recovery, RecoveryFile, WatchOnly, Words

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

# Where agents' addresses lie under the seed (BIP-32). Change nothing here lightly: a new path
# needs the password once (bursar seed unlock), and other wallets must be told of it.
[wallets.derivation]
evm = "{evm}"
xrpl = "{xrpl}"
tron = "{tron}"
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
    watch_only: WatchOnly = False,
    words: Words = 0,
    imports: Imports = False,
    password_file: PasswordFile = None,
    recovery_key: Recovery = False,
    recovery_key_file: RecoveryFile = None,
    path_of: Annotated[
        list[str] | None,
        typer.Option(
            "--path",
            metavar="KIND=PATH",
            help="Where addresses of evm, xrpl or tron are derived; {index} stands last.",
        ),
    ] = None,
) -> None:
    """Write a commented configuration, create the data directory, and make or import the seed.

    Asks on a terminal. Without one it is watch-only unless flags say otherwise; words and then
    the password may be lines of standard input. Nothing is written before everything is known.
    """
    flags = founding.Flags(
        watch_only, words, imports, password_file, recovery_key, recovery_key_file
    )
    flags.check()
    path, text, settings = _drafted(data_dir, environment, path_of or [])
    wanted = founding.talk(flags, seed.examined(settings))
    with dialogue.uninterrupted():
        present = seed.commit(settings, wanted, flags)
        _write_config(path, text)
        output.say(f"Wrote {path} and prepared {settings.data_path}.")
        seed.say_what_is_there(present)
        agents = "wallets create 10" if present.fingerprint else "wallets import FILE.csv"
        output.say(f"Next: name your chains and assets in it, then `bursar {agents}`,")
        output.say("then `bursar doctor`, then `bursar`.")


def _drafted(data_dir: str, environment: str, path_of: Sequence[str]) -> tuple[Path, str, Settings]:
    """The configuration to be: its file, its text, what it means. Nothing is written."""
    import socket

    from core.config import DerivationSettings, parse_settings

    xdg = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    default = Path(xdg).expanduser() / "bursar" / "bursar.toml"
    path = Path(context.config).expanduser() if context.config else default
    if path.exists():
        raise fail(f"{path} exists already; nothing was changed.", Exit.USAGE)
    if not data_dir.startswith("~"):
        data_dir = str(Path(data_dir).absolute())  # it is read from other places too
    quoted = [text.replace("\\", "\\\\").replace('"', '\\"') for text in (data_dir, environment)]
    derivation = {kind.value: text for kind, text in DerivationSettings().templates().items()}
    for given in path_of:
        kind, equals, template = given.partition("=")
        if kind not in derivation or not equals:
            raise fail(f"--path {given[:60]!r}: write evm=, xrpl= or tron= and a path.", Exit.USAGE)
        derivation[kind] = template.replace("\\", "\\\\").replace('"', '\\"')
    text = TEMPLATE.format(
        data_dir=quoted[0],
        environment=quoted[1],
        node_id=socket.gethostname().split(".")[0],
        **derivation,
    )
    # An unwritable place is found out before anybody writes words down.
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise fail(f"{path} cannot be written: {folder} does not allow it.")
    return path, text, parse_settings(text, str(path), {})


def _write_config(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        output.write_file(path, text)
    except OSError as error:
        raise fail(f"{path} cannot be written: {error.strerror}") from error


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Checks and settings as JSON.")] = False,
) -> None:
    """Check settings, data directory, database, clock, endpoints and assets; say what is wrong."""
    from core.config import masked
    from core.engine.doctor import examine
    from core.engine.verdicts import Verdict

    settings = context.settings()
    checks = run(lambda: examine(settings))
    bad = sum(check.verdict is Verdict.BAD for check in checks)
    if as_json:
        output.write_json({"checks": checks, "settings": masked(settings), "problems": bad})
    else:
        output.say_checks(checks)
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
