"""`bursar wallets ...`: agents created or followed, their lives, groups, floors and targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.events import Json
from core.model import Amount, BursarError, parse_amount
from tui.cli import dialogue, output
from tui.cli.context import Exit, context, engine, fail, run

if TYPE_CHECKING:
    from core.api import WalletView

app = typer.Typer(help="Agents and their wallets.", no_args_is_help=True)

COLUMNS = ("agent", "group", "tags", "state", "chain", "address", "path")
PROGRESS_FROM = 200
"""So many agents take long enough to be followed."""

Reason = Annotated[str, typer.Option(help="Why; it is kept with the change and audited.")]


@app.command("import")
def import_csv(
    file: Annotated[Path, typer.Argument(help="Columns: agent,chain,address[,group][,tags].")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it, change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Follow watch-only addresses from a CSV file: all of them or, if a line is broken, none."""
    from core.api import ImportWallets
    from core.engine import EngineMode
    from core.wallets.watchlist import parse_watchlist

    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"{file} cannot be read: {error}", Exit.USAGE) from error

    async def work() -> None:
        settings = context.settings()
        async with engine(settings, EngineMode.READ if dry_run else EngineMode.COMMAND) as api:
            state = await api.state()
            kinds = {chain.name: chain.kind for chain in settings.chain}
            known = {(row.agent, row.chain): row.address for row in state.balances}
            parsed = parse_watchlist(text, kinds, known)
            if parsed.errors:
                for broken in parsed.errors:
                    output.warn(f"{file}:{broken.line}: {broken.reason}")
                raise fail(
                    f"{len(parsed.errors)} of {parsed.lines} lines are broken; nothing was "
                    "imported.",
                    Exit.USAGE,
                )
            if dry_run:
                output.say(f"{len(parsed.rows)} addresses could be imported; nothing was changed.")
                return
            outcome = await api.execute(ImportWallets(parsed.rows))
            if as_json:
                output.write_json(outcome)
            else:
                output.say(outcome.message)

    run(work)


@app.command()
def watch(
    agent: str,
    chain: str,
    address: str,
    group: Annotated[str, typer.Option(help="The agent's group.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be repeated.")] = None,
) -> None:
    """Follow one address of an agent on a chain."""
    from core.api import ImportWallets, WalletRow
    from core.engine import EngineMode

    row = WalletRow(agent, chain, address, group, tuple(tag or ()))

    async def work() -> None:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            output.say((await api.execute(ImportWallets((row,)))).message)

    run(work)


@app.command()
def tag(
    agents: list[str],
    group: Annotated[str | None, typer.Option(help="Set the group; '' clears it.")] = None,
    add: Annotated[list[str] | None, typer.Option(help="A tag to add; may be repeated.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="A tag to take off.")] = None,
) -> None:
    """Set group and tags of agents."""
    from core.api import TagAgents
    from core.engine import EngineMode

    command = TagAgents(tuple(agents), group, tuple(add or ()), tuple(remove or ()))

    async def work() -> None:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            output.say((await api.execute(command)).message)

    run(work)


@app.command()
def limit(
    chain: str,
    asset: Annotated[str, typer.Argument(help="Symbol or contract.")],
    group: Annotated[str, typer.Option(help="For every agent of this group.")] = "",
    agent: Annotated[str, typer.Option(help="For this agent alone.")] = "",
    floor: Annotated[str | None, typer.Option(help="Amount below which it is a problem.")] = None,
    target: Annotated[str | None, typer.Option(help="Amount a top-up brings it to.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove the limit.")] = False,
) -> None:
    """Set floor and target of an asset for a group or an agent (agent over group over asset)."""
    from core.api import SetLimits
    from core.engine import EngineMode

    if bool(group) == bool(agent):
        raise fail("Name either --group or --agent.", Exit.USAGE)
    if clear == (floor is not None or target is not None):
        raise fail("Give --floor, --target or both, or --clear alone.", Exit.USAGE)

    async def work() -> None:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            state = await api.state()
            named = asset.lower()
            token = next(
                (
                    known
                    for known in state.assets
                    if known.chain == chain
                    and named in {known.symbol.lower(), (known.contract or "").lower()}
                ),
                None,
            )
            if token is None:
                raise fail(f"There is no asset {asset} on a chain {chain}.", Exit.USAGE)
            amounts: list[Amount | None] = []
            for text in (floor, target):
                try:
                    amounts.append(
                        None if text is None else Amount(parse_amount(text, token.decimals))
                    )
                except BursarError as error:
                    raise fail(error, Exit.USAGE) from error
            scope, key = ("group", group) if group else ("agent", agent)
            command = SetLimits(scope, key, chain, token.contract or token.symbol, *amounts)
            output.say((await api.execute(command)).message)

    run(work)


@app.command()
def create(
    count: Annotated[int, typer.Argument(help="How many, numbered by their place.")] = 0,
    prefix: Annotated[str, typer.Option(help="Numbered agents are PREFIX-00042.")] = "agent",
    name: Annotated[
        list[str] | None, typer.Option(help="A name of its own, without a number; repeatable.")
    ] = None,
    chain: Annotated[
        list[str] | None, typer.Option(help="An address on this chain; all, if left out.")
    ] = None,
    group: Annotated[str, typer.Option(help="The agents' group.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the new wallets.")] = False,
) -> None:
    """Create agents with addresses derived from the seed; needs no password."""
    from uuid import uuid4

    from core.api import CreateWallets, EngineApi, Outcome
    from core.engine import EngineMode
    from tui.cli.progress import followed

    names = tuple(name or ())
    if bool(count) == bool(names):
        raise fail("Give a number of agents, or names with --name.", Exit.USAGE)
    command = CreateWallets(
        count, prefix, names, tuple(chain or ()), group, tuple(tag or ()), job=uuid4().hex
    )

    async def carry_out(api: EngineApi) -> Outcome:
        if max(count, len(names)) < PROGRESS_FROM:
            return await api.execute(command)
        return await followed(api, lambda: api.execute(command), command.job)

    async def work() -> None:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            outcome = await carry_out(api)
            if as_json:
                created = set(outcome.details)
                rows = [row for row in rows_of(await api.wallets()) if row["agent"] in created]
                output.write_json(rows)
            else:
                output.say(outcome.message)

    run(work)


@app.command()
def suspend(agents: list[str], reason: Reason) -> None:
    """Take active agents out of service; their balances are still read."""
    _change(agents, "suspend", reason)


@app.command()
def reactivate(agents: list[str], reason: Reason) -> None:
    """Put suspended agents back into service."""
    _change(agents, "reactivate", reason)


@app.command()
def archive(
    agents: list[str],
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask on a terminal.")] = False,
) -> None:
    """End agents for good: nothing of them is read any more, and no name is used again."""
    if not yes and dialogue.is_terminal():
        whom = agents[0] if len(agents) == 1 else f"{len(agents)} agents"
        output.say(f"An archive is for good: the balances of {whom} are not read any more.")
        if not dialogue.agree("Archive", default=False):
            raise fail("Nothing was changed.")
    _change(agents, "archive", reason)


def _change(agents: list[str], change: str, reason: str) -> None:
    from core.api import ChangeWallets
    from core.engine import EngineMode

    command = ChangeWallets(tuple(agents), change, reason)

    async def work() -> None:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            output.say((await api.execute(command)).message)

    run(work)


@app.command("list")
def list_wallets(
    group: Annotated[str, typer.Option(help="Only this group.")] = "",
    state: Annotated[str, typer.Option(help="Only this state, such as archived.")] = "",
    as_json: Annotated[bool, typer.Option("--json")] = False,
    as_csv: Annotated[bool, typer.Option("--csv")] = False,
) -> None:
    """List all agents with state, addresses and derivation paths, one line per address."""
    from core.engine import EngineMode
    from core.model import WalletState

    known = [each.value for each in WalletState]
    if state and state.upper() not in known:
        raise fail(f"--state is one of {', '.join(known).lower()}.", Exit.USAGE)

    async def work() -> None:
        async with engine(context.settings(), EngineMode.READ) as api:
            wallets = await api.wallets()
        rows = [
            row
            for row in rows_of(wallets)
            if group in {"", row["group"]} and state.upper() in {"", row["state"]}
        ]
        match output.form_of(as_json=as_json, as_csv=as_csv):
            case output.Form.JSON:
                output.write_json(rows)
            case output.Form.CSV:
                output.write_csv(rows, COLUMNS)
            case output.Form.TABLE:
                output.write_table(
                    [column.upper() for column in COLUMNS],
                    [[str(row[column]) for column in COLUMNS] for row in rows],
                    empty="No wallets yet: bursar wallets create 10, or wallets import FILE.csv",
                )

    run(work)


def rows_of(wallets: Sequence[WalletView]) -> list[dict[str, Json]]:
    """Wallets in their flat public form, a row per address."""
    return [
        {
            "agent": wallet.agent,
            "group": wallet.group,
            "tags": " ".join(wallet.tags),
            "state": wallet.state.value,
            "chain": address.chain,
            "address": address.address,
            "path": address.path,
        }
        for wallet in wallets
        for address in wallet.addresses
    ]
