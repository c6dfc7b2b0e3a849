"""`bursar wallets ...`: who is followed, in which group, with which floors and targets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.events import Json
from core.model import Amount, BursarError, parse_amount
from tui.cli import output
from tui.cli.context import Exit, context, engine, fail, run

app = typer.Typer(help="Agents and their wallets.", no_args_is_help=True)

COLUMNS = ("agent", "group", "tags", "state", "chain", "address")


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


@app.command("list")
def list_wallets(
    group: Annotated[str, typer.Option(help="Only this group.")] = "",
    as_json: Annotated[bool, typer.Option("--json")] = False,
    as_csv: Annotated[bool, typer.Option("--csv")] = False,
) -> None:
    """List agents with their addresses, one line per address."""
    from core.engine import EngineMode

    async def work() -> None:
        async with engine(context.settings(), EngineMode.READ) as api:
            state = await api.state()
        agents = {agent.id: agent for agent in state.agents}
        addresses = dict.fromkeys((row.agent, row.chain, row.address) for row in state.balances)
        rows: list[dict[str, Json]] = []
        for name, chain, address in addresses:
            agent = agents[name]
            if group and agent.group != group:
                continue
            rows.append(
                {
                    "agent": name,
                    "group": agent.group,
                    "tags": " ".join(agent.tags),
                    "state": agent.state.value,
                    "chain": chain,
                    "address": address,
                }
            )
        match output.form_of(as_json=as_json, as_csv=as_csv):
            case output.Form.JSON:
                output.write_json(rows)
            case output.Form.CSV:
                output.write_csv(rows, COLUMNS)
            case output.Form.TABLE:
                output.write_table(
                    [column.upper() for column in COLUMNS],
                    [[str(row[column]) for column in COLUMNS] for row in rows],
                    empty="No wallets yet: bursar wallets import FILE.csv",
                )

    run(work)
