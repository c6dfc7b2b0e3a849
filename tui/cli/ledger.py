"""`bursar ledger ...`: what peers owe, what agents hold by the books, and the ledger's files.

Questions and commands go to the running engine, or to one hosted for the command. What has to do
with files (export, import, migrate, check) is in `ledger_files`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.events import Json, iso_utc
from tui.cli import ledger_files, output
from tui.cli.context import Exit, context, engine, fail, run

if TYPE_CHECKING:
    from core.api import CustodyView, EngineState, PeerView, TransferView, TrialView

app = typer.Typer(
    help="Packets, peers and custody by the books.",
    no_args_is_help=True,
    epilog=(
        "Exit codes: 0 done, 1 failed (trial-balance: out of balance; check: damage), 2 wrong use "
        "and nothing was changed, 3 done in part (reconcile: something is unexplained or was not "
        "read; movements: some were refused)."
    ),
)

ledger_files.register(app)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; amounts are base units.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV; amounts are base units.")]

TRIAL = ("ledger", "name", "accounts", "debits", "credits", "debitsPending", "creditsPending",
         "balanced", "confirmed")  # fmt: skip
PEERS = ("peer", "token", "receivable", "payable", "net", "receivableInFlight", "payableInFlight",
         "receivableInTransit", "payableInTransit", "limit", "headroom")  # fmt: skip
TRANSFERS = ("timestamp", "side", "kind", "amount", "pending", "note", "id")
CUSTODY = ("agentId", "chain", "token", "contract", "decimals", "state", "block",
           "chainAmount", "ledgerAmount", "difference", "unexplained", "sinceBlock", "booked",
           "reason")  # fmt: skip


@app.command("trial-balance")
def trial_balance(as_json: AsJson = False, as_csv: AsCsv = False) -> None:
    """Debits and credits of every ledger number, taken now; exits 1 if one does not balance."""
    from core.engine import EngineMode

    async def work() -> Sequence[TrialView]:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            return await api.trial_balance()

    trials = run(work)
    rows: list[dict[str, Json]] = [
        {
            "ledger": trial.ledger,
            "name": trial.name,
            "accounts": trial.accounts,
            "debits": str(int(trial.debits)),
            "credits": str(int(trial.credits)),
            "debitsPending": str(int(trial.debits_pending)),
            "creditsPending": str(int(trial.credits_pending)),
            "balanced": trial.balanced,
            "confirmed": trial.confirmed,
        }
        for trial in trials
    ]
    _print(rows, TRIAL, as_json, as_csv, "Nothing is booked yet.")
    off = [trial.name for trial in trials if not trial.balanced]
    if off:
        raise fail(f"Debits and credits differ: {', '.join(off)}.")


@app.command()
def accounts(
    peer: Annotated[str, typer.Option(help="Only this peer.")] = "",
    token: Annotated[str, typer.Option(help="Only this token.")] = "",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """What stands between us and each peer: receivable, payable, net, in flight, headroom."""
    from core.engine import EngineMode

    async def work() -> Sequence[PeerView]:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            return await api.peer_balances()

    rows: list[dict[str, Json]] = [
        {
            "peer": view.peer,
            "token": view.token,
            "receivable": str(int(view.receivable)),
            "payable": str(int(view.payable)),
            "net": str(int(view.net)),
            "receivableInFlight": str(int(view.receivable_in_flight)),
            "payableInFlight": str(int(view.payable_in_flight)),
            "receivableInTransit": str(int(view.receivable_in_transit)),
            "payableInTransit": str(int(view.payable_in_transit)),
            "limit": None if view.limit is None else str(int(view.limit)),
            "headroom": None if view.headroom is None else str(int(view.headroom)),
        }
        for view in run(work)
        if peer in {"", view.peer} and token in {"", view.token}
    ]
    _print(rows, PEERS, as_json, as_csv, "No packet was booked with any peer yet.")


@app.command()
def transfers(
    peer: str,
    token: str,
    limit: Annotated[int, typer.Option(min=1, max=8_189, help="At most so many.")] = 50,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """The newest transfers of a peer's accounts in a token, newest first."""
    from core.engine import EngineMode

    async def work() -> Sequence[TransferView]:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            return await api.transfers(peer, token, limit)

    rows: list[dict[str, Json]] = [
        {
            "timestamp": iso_utc(view.timestamp_ms),
            "side": view.side,
            "kind": view.kind,
            "amount": str(int(view.amount)),
            "pending": view.pending,
            "note": view.note,
            "id": view.id,
        }
        for view in run(work)
    ]
    _print(rows, TRANSFERS, as_json, as_csv, f"No transfer with {peer} in {token} yet.")


@app.command()
def reconcile(
    agent: Annotated[str, typer.Option(help="Only this agent.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Also list what agrees.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Compare chain and ledger, as last read; exits 3 if something is unexplained or unread."""
    from core.engine import EngineMode

    async def work() -> tuple[EngineState, Sequence[CustodyView]]:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            found = await api.reconcile(agent)
            return await api.state(), found

    state, found = run(work)
    rows = _custody_rows(state, found)
    open_ = [row for row in rows if row["state"] not in {"equal", "opened", "pending"}]
    quiet = {"equal", "opened"}
    shown = [row for row in rows if every or row["state"] not in quiet]
    form = output.form_of(as_json=as_json, as_csv=as_csv)
    if form is output.Form.TABLE:
        agreed = len(rows) - sum(row["state"] not in quiet for row in rows)
        output.write_table(
            ["AGENT", "CHAIN", "TOKEN", "STATE", "CHAIN SAYS", "BOOKED", "DIFFERENCE",
             "UNEXPLAINED", "BLOCK", "REASON"],
            [_custody_cells(row) for row in shown],
            right=("CHAIN SAYS", "BOOKED", "DIFFERENCE", "UNEXPLAINED", "BLOCK"),
            empty="Nothing to list.",
        )  # fmt: skip
        output.say(f"{agreed:,} of {len(rows):,} balances agree; {len(open_):,} need a look.")
    else:
        _print(rows if as_json else shown, CUSTODY, as_json, as_csv, "")
    if open_:
        raise typer.Exit(int(Exit.PARTIAL))


def _custody_rows(state: EngineState, found: Sequence[CustodyView]) -> list[dict[str, Json]]:
    by_account = {row.account: row for row in state.balances}
    assets = {asset.id: asset for asset in state.assets}
    rows: list[dict[str, Json]] = []
    for view in found:
        row = by_account.get(view.account)
        if row is None:
            continue
        asset = assets[row.asset]
        rows.append(
            {
                "agentId": row.agent,
                "chain": row.chain,
                "token": asset.symbol,
                "contract": asset.contract,
                "decimals": asset.decimals,
                "state": view.state,
                "block": view.block,
                "chainAmount": None if view.chain_amount is None else str(int(view.chain_amount)),
                "ledgerAmount": str(int(view.ledger_amount)),
                "difference": None if view.difference is None else str(int(view.difference)),
                "unexplained": str(int(view.unexplained)),
                "sinceBlock": view.since or None,
                "booked": view.booked,
                "reason": view.reason or None,
            }
        )
    return rows


def _custody_cells(row: Mapping[str, Json]) -> list[str]:
    from tui.text import exact

    def amount(key: str) -> str:
        value = row[key]
        return "" if value is None else exact(int(str(value)), int(str(row["decimals"])))

    state = f"{row['state']} (booked)" if row["booked"] else str(row["state"])
    return [
        str(row["agentId"]),
        str(row["chain"]),
        str(row["token"]),
        state,
        amount("chainAmount"),
        amount("ledgerAmount"),
        amount("difference"),
        amount("unexplained"),
        str(row["block"]),
        str(row["reason"] or ""),
    ]


@app.command()
def explain(
    agent: str,
    chain: str,
    asset: Annotated[str, typer.Argument(help="Symbol or contract.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the events.")],
) -> None:
    """Book what is unexplained of one balance, with a reason."""
    from core.api import BookUnexplained
    from core.engine import EngineMode

    async def work() -> None:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            outcome = await api.execute(BookUnexplained(agent, chain, asset, reason))
            output.say(outcome.message)

    run(work)


@app.command()
def movements(
    file: Annotated[Path, typer.Argument(help="Columns: agent,chain,asset,amount,reference.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Book movements of custody from CSV (decimal amounts: funding above 0; payments, gas and
    sweeps below). A file with a broken line books nothing; a reference is booked once."""
    from core.api import Outcome, RecordMovements
    from core.engine import EngineMode
    from core.engine.movements import parse_movements

    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"{file} cannot be read: {error}", Exit.USAGE) from error

    async def work() -> Outcome:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            rows, errors = parse_movements(text, (await api.state()).assets)
            for broken in errors:
                output.warn(f"{file}:{broken.line}: {broken.reason}")
            if errors:
                raise fail(f"{len(errors)} lines are broken; nothing was booked.", Exit.USAGE)
            if not rows:
                raise fail(f"{file} holds no movement; nothing was booked.", Exit.USAGE)
            return await api.execute(RecordMovements(tuple(rows)))

    outcome = run(work)
    if as_json:
        output.write_json(outcome)
    else:
        output.say(outcome.message)
        for line in outcome.details:
            output.warn(line)
    if outcome.details:
        raise typer.Exit(int(Exit.PARTIAL))


def _print(
    rows: Sequence[Mapping[str, Json]],
    columns: Sequence[str],
    as_json: bool,
    as_csv: bool,
    empty: str,
) -> None:
    match output.form_of(as_json=as_json, as_csv=as_csv):
        case output.Form.JSON:
            output.write_json(rows)
        case output.Form.CSV:
            output.write_csv(rows, columns)
        case output.Form.TABLE:
            figures = {name for name in columns for row in rows if _is_figure(row[name])}
            output.write_table(
                [column.upper() for column in columns],
                [["" if row[c] is None else _cell(row[c]) for c in columns] for row in rows],
                right=[column.upper() for column in columns if column in figures],
                empty=empty,
            )


def _is_figure(value: Json) -> bool:
    return str(value).removeprefix("-").isdecimal()


def _cell(value: Json) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
