"""`bursar balances`, `sync`, `topup` and `export`: what the fleet holds, for people and scripts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.config import Duration
from core.events import Json, iso_utc
from core.model import BursarError
from tui.cli import output
from tui.cli.context import Exit, context, engine, fail, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from core.api import EngineApi, EngineState

BALANCE_COLUMNS = (
    "agentId", "group", "chain", "address", "token", "contract", "decimals", "balance",
    "reserved", "mark", "block", "checkedAt", "changedAt", "severity", "problem", "error",
)  # fmt: skip
HISTORY_COLUMNS = (
    "agentId", "chain", "token", "decimals", "timestamp", "block", "balance", "carried",
)  # fmt: skip
EVENT_PAGE = 5_000


def register(app: typer.Typer) -> None:
    """Put the commands on the command line."""
    app.command()(balances)
    app.command()(sync)
    app.command()(topup)
    app.command()(export)


def balances(
    agent: Annotated[str, typer.Option(help="Only this agent.")] = "",
    chain: Annotated[str, typer.Option(help="Only this chain.")] = "",
    asset: Annotated[str, typer.Option(help="Only this symbol or contract.")] = "",
    history: Annotated[bool, typer.Option("--history", help="Changes instead of values.")] = False,
    since: Annotated[str, typer.Option(help="How far back --history goes.")] = "24h",
    as_json: Annotated[bool, typer.Option("--json")] = False,
    as_csv: Annotated[bool, typer.Option("--csv")] = False,
) -> None:
    """Print balances as last read, with age and reason where a reading failed."""
    from core.engine import EngineMode
    from core.service.wire import balance_rows

    form = output.form_of(as_json=as_json, as_csv=as_csv)
    span_ms = _duration(since)

    async def work() -> None:
        async with engine(context.settings(), EngineMode.READ) as api:
            state = await api.state()
            rows = balance_rows(state, agent=agent, chain=chain, asset=asset)
            if history:
                rows = await _history_rows(api, rows, span_ms)
        if agent and not any(known.id == agent for known in state.agents):
            raise fail(f"No wallet for agent {agent}")
        columns = HISTORY_COLUMNS if history else BALANCE_COLUMNS
        if form is output.Form.JSON:
            output.write_json(rows)
        elif form is output.Form.CSV:
            output.write_csv(rows, columns)
        elif history:
            _history_table(rows)
        else:
            _balance_table(rows, state)

    run(work)


def sync(
    chain: Annotated[list[str] | None, typer.Option(help="Only these chains.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document of changes.")] = False,
) -> None:
    """Read every chain now and print what changed."""
    from core.api import SyncNow
    from core.engine import EngineMode

    async def work() -> bool:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            before = (await api.state()).seq
            outcome = await api.execute(SyncNow(tuple(chain or ())))
            state = await api.state()
            kinds = ("AGENT_BALANCE_CHANGED", "AGENT_BALANCE_REVERTED")
            changes = [e async for e in _events(api, before) if e["type"] in kinds]
        unread = [c for c in state.chains if (not chain or c.name in chain) and c.state == "down"]
        if as_json:
            output.write_json(
                {
                    "changes": changes,
                    "chains": [
                        {
                            "chain": c.name,
                            "state": c.state,
                            "reason": c.reason or None,
                            "block": c.block,
                            "accounts": c.accounts,
                            "unknown": c.unknown,
                        }
                        for c in state.chains
                    ],
                }
            )
        else:
            _change_table(changes)
            output.say(outcome.message)
            for broken in unread:
                output.warn(f"{broken.name}: {broken.state}: {broken.reason}")
        return not unread and not any(c.unknown for c in state.chains)

    if not run(work):
        raise typer.Exit(int(Exit.PARTIAL))


def topup(
    group: Annotated[str, typer.Option(help="Only agents of this group.")] = "",
    chain: Annotated[str, typer.Option(help="Only this chain.")] = "",
    as_json: Annotated[bool, typer.Option("--json")] = False,
    as_csv: Annotated[bool, typer.Option("--csv")] = False,
) -> None:
    """Print who is below target and by how much, per chain and asset."""
    from core.balances.topup import topups
    from core.engine import EngineMode
    from tui.text import exact

    async def work() -> None:
        async with engine(context.settings(), EngineMode.READ) as api:
            state = await api.state()
        missing = topups(state, group=group, chain=chain)
        columns = ("agentId", "group", "chain", "address", "token", "contract", "decimals",
                   "balance", "floor", "target", "amount")  # fmt: skip
        rows: list[dict[str, Json]] = [
            {
                "agentId": m.agent,
                "group": m.group,
                "chain": m.chain,
                "address": m.address,
                "token": m.symbol,
                "contract": m.contract,
                "decimals": m.decimals,
                "balance": str(m.balance),
                "floor": None if m.floor is None else str(m.floor),
                "target": str(m.target),
                "amount": str(m.amount),
            }
            for m in missing
        ]
        match output.form_of(as_json=as_json, as_csv=as_csv):
            case output.Form.JSON:
                output.write_json(rows)
            case output.Form.CSV:
                output.write_csv(rows, columns)
            case output.Form.TABLE:
                output.write_table(
                    ["CHAIN", "ASSET", "AGENT", "BALANCE", "TARGET", "TOP UP BY", "ADDRESS"],
                    [
                        [
                            m.chain,
                            m.symbol,
                            m.agent,
                            exact(m.balance, m.decimals),
                            exact(m.target, m.decimals),
                            exact(m.amount, m.decimals),
                            m.address,
                        ]
                        for m in missing
                    ],
                    right=("BALANCE", "TARGET", "TOP UP BY"),
                    empty="Nobody is below target.",
                )
                sums: dict[tuple[str, str, int], int] = {}
                for m in missing:
                    key = (m.chain, m.symbol, m.decimals)
                    sums[key] = sums.get(key, 0) + m.amount
                for (on, symbol, decimals), amount in sums.items():
                    output.say(f"{on}: {exact(amount, decimals)} {symbol} in all")

    run(work)


def export(
    what: Annotated[str, typer.Argument(help="events or history.")],
    since: Annotated[str, typer.Option(help="How far back; '0' for everything.")] = "0",
    to: Annotated[Path | None, typer.Option("--to", help="A file instead of standard out.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV instead of JSON lines.")] = False,
) -> None:
    """Write events or balance history, oldest first, as JSON lines (or CSV)."""
    from core.engine import EngineMode
    from core.service.wire import balance_rows, encode

    if what not in {"events", "history"}:
        raise fail(f"Cannot export {what!r}; choose events or history.", Exit.USAGE)
    start_ms = 0 if since == "0" else int(time.time() * 1000) - _duration(since)

    async def work() -> None:
        async with engine(context.settings(), EngineMode.READ) as api:
            rows: list[dict[str, Json]]
            if what == "events":
                rows = [event async for event in _events(api, 0, start_ms)]
                columns: Sequence[str] = ("sequence", "timestamp", "type", "nodeId", "details")
            else:
                flat = balance_rows(await api.state())
                now = int(time.time() * 1000)
                rows = await _history_rows(api, flat, now - start_ms)
                columns = HISTORY_COLUMNS
        if as_csv:
            if what == "events":
                rows = [_event_line(row) for row in rows]
            text = output.csv_text(rows, columns)
        else:
            text = "".join(encode(row).decode() + "\n" for row in rows)
        if to is None:
            typer.echo(text, nl=False)
        else:
            output.write_file(to, text)
            output.say(f"Wrote {len(rows)} rows to {to}.")

    run(work)


# --- rows and tables -----------------------------------------------------------------------


def _duration(text: str) -> int:
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise fail(str(error), Exit.USAGE) from error


async def _events(api: EngineApi, after: int, since_ms: int = 0) -> AsyncIterator[dict[str, Json]]:
    from core.api import EventQuery

    while True:
        page = await api.events(EventQuery(after_seq=after, limit=EVENT_PAGE, since_ms=since_ms))
        for record in page:
            yield record.as_json()
        if len(page) < EVENT_PAGE:
            return
        after = page[-1].seq


async def _history_rows(
    api: EngineApi, rows: list[dict[str, Json]], span_ms: int
) -> list[dict[str, Json]]:
    now = int(time.time() * 1000)
    found: list[dict[str, Json]] = []
    for row in rows:
        asset = str(row["contract"] or row["token"])
        try:
            history = await api.history(
                str(row["agentId"]), str(row["chain"]), asset, max(now - span_ms, 0), now
            )
        except BursarError as error:
            raise fail(error) from error
        found += [
            {
                "agentId": row["agentId"],
                "chain": row["chain"],
                "token": row["token"],
                "decimals": row["decimals"],
                "timestamp": iso_utc(point.time_ms),
                "block": point.block,
                "balance": str(int(point.amount)),
                "carried": point.carried,
            }
            for point in history.points
        ]
    return found


def _event_line(row: dict[str, Json]) -> dict[str, Json]:
    from core.service.wire import encode

    head = {"sequence", "timestamp", "type", "nodeId"}
    details = {key: value for key, value in row.items() if key not in head}
    return {key: row[key] for key in head} | {"details": encode(details).decode()}


def _balance_table(rows: list[dict[str, Json]], state: EngineState) -> None:
    from tui.text import exact

    def amount(row: dict[str, Json]) -> str:
        if row["balance"] is None:
            return "?"
        text = exact(int(str(row["balance"])), int(str(row["decimals"])))
        return f"{text} ~" if row["error"] else text

    output.write_table(
        ["AGENT", "CHAIN", "ASSET", "BALANCE", "STATE", "CHECKED", "NOTE"],
        [
            [
                str(row["agentId"]),
                str(row["chain"]),
                str(row["token"]),
                amount(row),
                str(row["severity"]),
                str(row["checkedAt"] or "never"),
                str(row["error"] or row["problem"] or row["mark"] or ""),
            ]
            for row in rows
        ],
        right=("BALANCE",),
        empty="No balances yet: bursar wallets import FILE.csv",
    )


def _history_table(rows: list[dict[str, Json]]) -> None:
    from tui.text import exact

    output.write_table(
        ["TIME", "AGENT", "CHAIN", "ASSET", "BALANCE", "BLOCK"],
        [
            [
                str(row["timestamp"]) + (" (standing)" if row["carried"] else ""),
                str(row["agentId"]),
                str(row["chain"]),
                str(row["token"]),
                exact(int(str(row["balance"])), int(str(row["decimals"]))),
                str(row["block"]),
            ]
            for row in rows
        ],
        right=("BALANCE", "BLOCK"),
        empty="No change in that time.",
    )


def _change_table(changes: list[dict[str, Json]]) -> None:
    from tui.text import exact

    output.write_table(
        ["AGENT", "CHAIN", "ASSET", "CHANGE", "BALANCE", "BLOCK"],
        [
            [
                str(event["agentId"]),
                str(event["chain"]),
                str(event["token"]),
                exact(int(str(event["change"])), int(str(event["decimals"])), sign=True),
                exact(int(str(event["newBalance"])), int(str(event["decimals"]))),
                str(event["block"]),
            ]
            for event in changes
        ],
        right=("CHANGE", "BALANCE", "BLOCK"),
        empty="No balance changed.",
    )
