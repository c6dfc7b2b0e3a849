"""`bursar settlements ...`: who has to settle, what is under way, and telling how it ended.

Every command speaks to the running engine, or to one hosted for the command; the words it
answers with are the engine's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from core.events import Json
from core.model import BursarError
from tui.cli import output
from tui.cli.context import Exit, context, engine, fail, run

if TYPE_CHECKING:
    from core.api import Command, EngineApi, EngineState
    from core.model import Amount
    from tui.settlements import Predicate

T = TypeVar("T")

app = typer.Typer(
    help="Settlements: list, start, complete, fail, explain; thresholds.",
    no_args_is_help=True,
    epilog=(
        "Exit codes: 0 done, 1 failed or refused and nothing was changed (list: settlements are "
        "not watched), 2 wrong use and nothing was changed, 3 (list) something is stuck."
    ),
)

Side = Annotated[
    str, typer.Option("--direction", help="receivable (they owe us) or payable (we owe).")
]
Key = Annotated[str, typer.Option(help="Only if this is the settlement's idempotency key.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; amounts are base units.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV; amounts are base units.")]
SIDES = ("receivable", "payable")
COLUMNS = ("peerId", "tokenId", "direction", "state", "stuck", "currentBalance", "threshold",
           "sharePercent", "headroom", "amount", "attempt", "since", "ratePerMinute",
           "etaSeconds", "settledAt", "settledAmount", "idempotencyKey", "unmonitored",
           "trouble")  # fmt: skip


@app.command("list")
def list_settlements(
    words: Annotated[
        str, typer.Option("--filter", help="As on the desk: peer: token: state: side: stuck text.")
    ] = "",
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Every pair with its state: what is under way first, then what is asked for, then the rest
    by nearness to its threshold."""
    from core.api import LedgerAwayError
    from tui import settlements
    from tui.query import QueryError

    try:
        matches = settlements.parse(words)
    except QueryError as error:
        raise fail(error, Exit.USAGE) from error

    async def ask(api: EngineApi) -> EngineState:
        # A question makes an engine that is hosted for this command look at its pairs.
        with contextlib.suppress(LedgerAwayError):  # the state says it with its reason
            await api.explain("", "")
        return await api.state()

    state = _through_engine(ask)
    _show(state, matches, as_json=as_json, as_csv=as_csv)


def _show(state: EngineState, matches: Predicate, *, as_json: bool, as_csv: bool) -> None:
    from tui import settlements
    from tui.settlement_words import standing

    peers = {(view.peer, view.token): view for view in state.peers}
    found = [row for row in settlements.rows(state.settlements, peers) if matches(row)]
    board = settlements.board(found, most_idle=len(found))
    ordered = (*board.in_progress, *board.pending, *board.idle)
    rows: list[dict[str, Json]] = [settlements.as_json(row) for row in ordered]
    match output.form_of(as_json=as_json, as_csv=as_csv):
        case output.Form.JSON:
            output.write_json(rows)
        case output.Form.CSV:
            output.write_csv(rows, COLUMNS)
        case output.Form.TABLE:
            output.write_table(
                ["PEER", "TOKEN", "DIRECTION", "STATE", "NOW", "DUE", "THRESHOLD", "SHARE",
                 "HEADROOM", "UNDER WAY"],
                [
                    [
                        row.view.peer,
                        row.view.token,
                        row.view.direction,
                        row.view.state,
                        standing(row, state.now_ms),
                        _figure(row.view.due),
                        _figure(row.view.threshold),
                        _share(settlements.share_percent(row.view)),
                        _figure(settlements.headroom(row)),
                        _figure(row.view.amount),
                    ]
                    for row in ordered
                ],
                right=("DUE", "THRESHOLD", "SHARE", "HEADROOM", "UNDER WAY"),
                empty="No pair to list.",
            )  # fmt: skip
    health = state.settlement
    if health is None:
        raise fail("Settlements are not watched: this engine has no ledger.")
    if not health.running:
        raise fail(f"Settlements are not watched: {health.error}")
    if any(row.view.stuck for row in ordered):
        stuck = ", ".join(f"{r.view.token} with {r.view.peer}" for r in ordered if r.view.stuck)
        raise fail(f"Stuck: {stuck}. Ask whoever pays by the key, then complete or fail it.",
                   Exit.PARTIAL)  # fmt: skip


def _figure(amount: int | None) -> str:
    return "" if amount is None else str(int(amount))


def _share(percent: int | None) -> str:
    return "" if percent is None else f"{percent}%"


@app.command()
def start(
    peer: str,
    token: str,
    amount: Annotated[str, typer.Option(help="Base units; all that is due if not given.")] = "",
    direction: Side = "receivable",
    as_json: AsJson = False,
) -> None:
    """Say that the payment of a pending settlement has begun; it is held in the ledger."""
    from core.api import StartSettlement

    _give(StartSettlement(peer, token, _side(direction), _amount(amount)), as_json)


@app.command()
def complete(
    peer: str,
    token: str,
    amount: Annotated[str, typer.Option(help="Base units that arrived; all if not given.")] = "",
    key: Key = "",
    direction: Side = "receivable",
    as_json: AsJson = False,
) -> None:
    """Say that the payment under way arrived; it is booked, and that is never taken back."""
    from core.api import CompleteSettlement

    _give(CompleteSettlement(peer, token, _side(direction), _amount(amount), key), as_json)


@app.command("fail")
def fail_settlement(
    peer: str,
    token: str,
    reason: Annotated[str, typer.Option(help="Why; kept with the settlement.")],
    key: Key = "",
    direction: Side = "receivable",
    as_json: AsJson = False,
) -> None:
    """Say that the payment under way was not made; it is asked for again under the same key."""
    from core.api import FailSettlement

    if not reason.strip():
        raise fail("Give a reason; nothing was changed.", Exit.USAGE)
    _give(FailSettlement(peer, token, reason, _side(direction), key), as_json)


@app.command()
def threshold(
    level: Annotated[
        str, typer.Argument(help='Base units, a share of the limit ("80%"), or "configured".')
    ],
    peer: Annotated[str, typer.Option(help="Only this peer; everybody if not given.")] = "",
    token: Annotated[str, typer.Option(help="Only this token of the peer.")] = "",
    reason: Annotated[str, typer.Option(help="Why; kept in the events.")] = "",
    as_json: AsJson = False,
) -> None:
    """Set the threshold of a peer's token, of a peer, or the default; kept over a restart."""
    from core.api import SetThreshold
    from core.settlement.thresholds import parse

    if token and not peer:
        raise fail("--token needs --peer; nothing was changed.", Exit.USAGE)
    wanted = level.replace(",", "").replace("_", "").strip()
    if wanted.lower() == "configured":
        wanted = ""
    else:
        try:
            parse(wanted, "the threshold")
        except BursarError as error:
            raise fail(error, Exit.USAGE) from error
    _give(SetThreshold(peer, token, wanted, reason), as_json)


@app.command()
def release(
    reason: Annotated[str, typer.Option(help="What was looked at; kept in the audit log.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let settlements go on that a restore holds."""
    from core.api import ReleaseSettlements

    if not reason.strip():
        raise fail("Give a reason; nothing was changed.", Exit.USAGE)
    _give(ReleaseSettlements(reason), as_json)


@app.command()
def explain(peer: str, token: str, direction: Side = "receivable", as_json: AsJson = False) -> None:
    """Why a pair is or is not settling, in words."""
    side = _side(direction)

    async def ask(api: EngineApi) -> str:
        return await api.explain(peer, token, side)

    words = _through_engine(ask)
    if as_json:
        output.write_json({"peerId": peer, "tokenId": token, "direction": side, "words": words})
    else:
        output.say(words)


def _give(command: Command, as_json: bool) -> None:
    outcome = _through_engine(lambda api: api.execute(command))
    if as_json:
        output.write_json(outcome)
        return
    output.say(outcome.message)
    for line in outcome.details:
        output.warn(line)


def _through_engine(ask: Callable[[EngineApi], Awaitable[T]]) -> T:
    from core.engine import EngineMode

    async def work() -> T:
        async with engine(context.settings(), EngineMode.COMMAND) as api:
            return await ask(api)

    return run(work)


def _side(words: str) -> str:
    if words not in SIDES:
        raise fail(f"There is no direction {words!r}: receivable or payable.", Exit.USAGE)
    return words


def _amount(words: str) -> Amount | None:
    """Base units above 0; None where nothing is written."""
    from core.model import Amount
    from tui.text import parse_amount

    if not words:
        return None
    try:
        amount = parse_amount(words, 0)
    except BursarError as error:
        raise fail(error, Exit.USAGE) from error
    if amount <= 0:
        raise fail("An amount is above zero; nothing was changed.", Exit.USAGE)
    return Amount(amount)
