"""A sweep's bookkeeping without a socket: what is asked, what an answer does, what remains."""

from __future__ import annotations

import msgspec
import pytest

from core.chains.failures import EndpointError, FailureKind
from core.chains.xrpl.sweep import Plan, Sweep
from core.chains.xrpl.wire import Message, Reserves, decode
from core.events import Json
from core.model import Asset, BlockRef, Request
from tests.integration.chains.ledgers import XRP, xrpl_account

LEDGER = BlockRef(7, "AB" * 32, 1_000)
NEXT = BlockRef(8, "CD" * 32, 5_000)
ISSUER = xrpl_account(900)
USD = Asset(11, "xrpl", "USD", "US Dollar", 6, contract=ISSUER)
EUR = Asset(12, "xrpl", "EUR", "Euro", 6, contract=xrpl_account(901))
A, B = xrpl_account(1), xrpl_account(2)


def answer(result: dict[str, Json]) -> Message:
    return decode(msgspec.json.encode({"id": 0, "type": "response", "result": result}))


def root(drops: int, ledger: BlockRef = LEDGER) -> Message:
    fields: Json = {"Balance": str(drops), "OwnerCount": 2}
    return answer({"account_data": fields, "ledger_hash": ledger.hash})


def lines(*balances: str, marker: str | None = None) -> Message:
    page: list[Json] = [{"account": ISSUER, "currency": "USD", "balance": b} for b in balances]
    return answer({"lines": page, "marker": marker, "ledger_hash": LEDGER.hash})


def begun(*requests: Request) -> Sweep:
    sweep = Sweep(Plan(requests))
    sweep.begin(LEDGER)
    return sweep


def ask_all(sweep: Sweep) -> list[dict[str, object]]:
    asked = []
    while sweep.todo:
        asked.append(msgspec.json.decode(sweep.next_request(100), type=dict[str, object]))
    return asked


def test_each_address_is_asked_once_whatever_is_read_there() -> None:
    wanted = [Request(A, XRP), Request(A, USD), Request(A, XRP), Request(A, EUR), Request(B, XRP)]
    sweep = begun(*wanted)
    asked = ask_all(sweep)
    assert [(q["id"], q["command"], q["account"]) for q in asked] == [
        (100, "account_info", A),
        (101, "account_info", B),
        (102, "account_lines", A),
    ]
    assert all(q["ledger_hash"] == LEDGER.hash for q in asked)
    assert "peer" not in asked[2], "two issuers: all lines are walked"
    assert ask_all(begun(Request(A, USD)))[0]["peer"] == ISSUER


def test_after_a_cut_only_what_was_not_answered_is_asked_again() -> None:
    sweep = begun(Request(A, XRP), Request(B, XRP))
    ask_all(sweep)
    sweep.take(1, root(5))
    sweep.interrupted()
    assert [q["account"] for q in ask_all(sweep)] == [A]
    sweep.take(0, root(9))
    sweep.reserves = Reserves(1, 1)
    assert sweep.finished
    assert sweep.outcome() == ([9, 5], {}, {}, {0: 3, 1: 3})


def test_an_answer_of_an_attempt_given_up_before_changes_nothing() -> None:
    sweep = begun(Request(A, XRP))
    ask_all(sweep)
    sweep.take(0, root(5))
    sweep.take(0, root(6))
    sweep.take(77, root(7))
    assert sweep.outcome()[0] == [5]


def test_an_answer_about_another_ledger_is_a_contradiction() -> None:
    sweep = begun(Request(A, XRP))
    ask_all(sweep)
    with pytest.raises(EndpointError) as caught:
        sweep.take(0, root(5, NEXT))
    assert caught.value.kind is FailureKind.INCONSISTENT


def test_a_walk_goes_on_at_its_marker_and_stops_when_everything_was_found() -> None:
    sweep = begun(Request(A, USD))
    ask_all(sweep)
    sweep.take(0, lines(marker="page two"))
    assert ask_all(sweep)[0]["marker"] == "page two"
    sweep.take(0, lines("1.5", marker="page three"))
    assert sweep.finished, "further pages hold nothing that is wanted"
    assert sweep.outcome()[0] == [1_500_000]


def test_a_server_that_gives_the_same_page_for_ever_is_not_walked_for_ever() -> None:
    sweep = begun(Request(A, USD), Request(B, XRP))
    ask_all(sweep)
    sweep.take(0, root(5))
    for _ in range(20):
        if sweep.finished:
            break
        sweep.take(1, lines(marker="again"))
        ask_all(sweep)
    amounts, reasons, _, _ = sweep.outcome()
    assert list(amounts) == [None, 5]
    assert "the same page again" in reasons[0]


def test_an_error_of_an_account_is_asked_once_more_and_then_stands() -> None:
    sweep = begun(Request(A, XRP), Request(B, XRP))
    ask_all(sweep)
    sweep.take(1, root(5))
    malformed = Message(error="actMalformed", error_message="Account malformed.")
    sweep.take(0, malformed)
    assert not sweep.finished
    ask_all(sweep)
    sweep.take(0, malformed)
    assert sweep.finished
    assert sweep.trouble is None
    assert sweep.outcome()[:2] == ([None, 5], {0: "actMalformed: Account malformed."})


def test_where_every_account_fails_it_is_the_server_and_nothing_stands() -> None:
    sweep = begun(*(Request(xrpl_account(n), XRP) for n in range(50)))
    ask_all(sweep)
    for job in range(50):
        sweep.take(job, Message(error="internal", error_message="Internal error."))
    assert sweep.trouble is not None
    assert sweep.trouble.kind is FailureKind.RPC
    sweep.interrupted()
    assert len(sweep.todo) == 50
    assert sweep.lost == {}


@pytest.mark.parametrize(
    ("error", "kind"), [("slowDown", FailureKind.TOO_MANY), ("lgrNotFound", FailureKind.NO_BLOCK)]
)
def test_trouble_of_the_server_leaves_the_job_to_be_done(error: str, kind: FailureKind) -> None:
    sweep = begun(Request(A, XRP), Request(B, XRP))
    ask_all(sweep)
    sweep.take(0, root(5))
    sweep.take(1, Message(error=error))
    assert sweep.trouble is not None
    assert sweep.trouble.kind is kind
    assert list(sweep.todo) == [1]


def test_what_nobody_could_answer_is_unknown_with_the_reason() -> None:
    sweep = begun(Request(A, XRP), Request(A, USD), Request(B, XRP))
    ask_all(sweep)
    sweep.take(0, root(5))
    sweep.abandon("all gone")
    amounts, reasons, _, _ = sweep.outcome()
    assert list(amounts) == [5, None, None]
    assert reasons == {1: "all gone", 2: "all gone"}


def test_a_sweep_that_carries_on_replaces_only_what_it_asked_for() -> None:
    plan = Plan([Request(A, XRP), Request(A, USD), Request(B, XRP)])
    first = Sweep(plan)
    first.begin(LEDGER)
    ask_all(first)
    first.take(0, root(5))
    first.take(1, root(6))
    first.take(2, lines("2"))
    second = Sweep(plan)
    second.carry(first)
    second.begin(NEXT, plan.jobs_of([plan.positions[A]]))
    assert [q["command"] for q in ask_all(second)] == ["account_info", "account_lines"]
    second.take(0, root(8, NEXT))
    second.take(2, answer({"lines": [], "ledger_hash": NEXT.hash}))
    amounts, reasons, marks, _ = second.outcome()
    assert (list(amounts), reasons, marks) == ([8, 0, 6], {}, {1: "no trust line"})
    assert second.moved(plan.positions[A])
    assert not second.moved(plan.positions[B])
    assert first.outcome()[0] == [5, 2_000_000, 6], "the earlier one is as it was"
