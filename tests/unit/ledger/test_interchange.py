"""The plain JSON form: out, in, and a ledger that starts from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ledger import AMOUNT_MAX, Account, AccountFlags, EmbeddedLedger, QueryFilter, Transfer
from core.ledger.interchange import (
    FOREIGN_LEDGER,
    OPENING_CODE,
    InterchangeError,
    Totals,
    may_start,
    parse,
    plan_opening,
    render,
    start_from,
    totals_of,
    write_file,
)
from tests.unit.ledger.worlds import ManualClock

IDS = st.integers(1, AMOUNT_MAX - 1)
AMOUNTS = st.integers(0, AMOUNT_MAX)


def opening_of(ledger: int) -> Account:
    return Account(id=10**20 + ledger, ledger=ledger, code=OPENING_CODE)


@given(st.lists(st.builds(Totals, IDS, AMOUNTS, AMOUNTS), unique_by=lambda t: t.id))
def test_what_is_rendered_is_read_back_and_every_integer_is_a_string(totals: list[Totals]) -> None:
    content = render(totals)
    assert parse("file", content) == totals
    assert json.loads(content) == [
        [
            str(t.id),
            {"debits_posted": str(t.debits_posted), "credits_posted": str(t.credits_posted)},
        ]
        for t in totals
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "is not a ledger snapshot"),
        ("[", "is not a ledger snapshot"),
        ('[[1, {"debits_posted": "1", "credits_posted": "1"}]]', "is not a ledger snapshot"),
        ('[["1", {"debits_posted": 1, "credits_posted": "1"}]]', "is not a ledger snapshot"),
        ('[["1", {"debits_posted": "1"}]]', "entry 1: expected debits_posted"),
        ('[["x", {"debits_posted": "1", "credits_posted": "1"}]]', "entry 1: 'x' is not a whole"),
        ('[["0", {"debits_posted": "1", "credits_posted": "1"}]]', "entry 1: 0 is no id"),
        ('[["1", {"debits_posted": "-1", "credits_posted": "1"}]]', "'-1' is not a whole"),
        (
            f'[["1", {{"debits_posted": "{AMOUNT_MAX + 1}", "credits_posted": "1"}}]]',
            "below 2\\^128",
        ),
        (
            '[["1", {"debits_posted": "1", "credits_posted": "1"}],'
            ' ["1", {"debits_posted": "1", "credits_posted": "1"}]]',
            "entry 2: 1 is no id, or stands twice",
        ),
    ],
)
def test_a_file_in_another_form_is_refused_by_name_and_entry(content: str, said: str) -> None:
    with pytest.raises(InterchangeError, match=said):
        parse("x.json", content.encode())


async def test_an_empty_ledger_starts_from_a_file_and_gives_the_same_totals(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    capped = int(AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)
    known = {
        1: Account(id=1, ledger=1, code=100, flags=capped),
        2: Account(id=2, ledger=2, code=200),
    }
    totals = [Totals(1, 30, 50), Totals(2, 0, 7), Totals(99, 5, 0), Totals(3, 0, 0)]
    path = tmp_path / "data" / "ledger-snapshot.json"
    write_file(path, totals)
    opening = plan_opening(parse(str(path), path.read_bytes()), known, opening_of)
    assert opening.foreign == [99, 3]
    ledger = EmbeddedLedger(tmp_path / "ledger", clock)
    await ledger.open()
    await start_from(ledger, opening, clock)
    found = {t.id: t for t in await totals_of(ledger)}
    assert [found[t.id] for t in totals] == totals
    [foreign] = await ledger.lookup_accounts([99])
    assert foreign.ledger == FOREIGN_LEDGER
    for number in (1, 2, FOREIGN_LEDGER):
        rows = await ledger.query_accounts(QueryFilter(ledger=number, limit=10))
        assert sum(a.debits_posted - a.credits_posted for a in rows) == 0
    # Written at close and read by the next empty ledger, the opening accounts do not pile up.
    again = plan_opening(await totals_of(ledger), known, opening_of)
    assert {t.id for t in again.transfers} == {t.id for t in opening.transfers}
    with pytest.raises(InterchangeError, match="only an empty one"):
        await start_from(ledger, opening, clock)
    await ledger.close()


async def test_totals_that_cannot_be_booked_change_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    capped = int(AccountFlags.DEBITS_MUST_NOT_EXCEED_CREDITS)
    known = {1: Account(id=1, ledger=1, code=100, flags=capped)}
    opening = plan_opening([Totals(1, 51, 50)], known, opening_of)
    ledger = EmbeddedLedger(tmp_path / "ledger", clock)
    await ledger.open()
    with pytest.raises(InterchangeError, match="51 for account 1 is refused: exceeds_credits"):
        await start_from(ledger, opening, clock)
    assert await ledger.query_accounts(QueryFilter(limit=1)) == []
    await ledger.close()


async def test_an_export_goes_through_every_page(tmp_path: Path) -> None:
    ledger = EmbeddedLedger(tmp_path / "ledger", ManualClock())
    await ledger.open()
    for first in (1, 8_001, 16_001):
        ids = range(first, first + 8_000)
        await ledger.create_accounts([Account(id=i, ledger=1, code=1) for i in ids])
    await ledger.create_transfers(
        [Transfer(id=1, debit_account_id=1, credit_account_id=24_000, amount=9, ledger=1, code=1)]
    )
    totals = await totals_of(ledger)
    assert [t.id for t in totals] == list(range(1, 24_001))
    assert (totals[0].debits_posted, totals[-1].credits_posted) == (9, 9)
    await ledger.close()


async def test_a_start_that_was_broken_off_is_finished_and_booked_once(tmp_path: Path) -> None:
    clock = ManualClock()
    known = {1: Account(id=1, ledger=1, code=100), 2: Account(id=2, ledger=1, code=200)}
    opening = plan_opening([Totals(1, 50, 0), Totals(2, 0, 50)], known, opening_of)
    ledger = EmbeddedLedger(tmp_path / "ledger", clock)
    await ledger.open()
    await ledger.create_accounts(opening.accounts)
    await ledger.create_transfers(opening.transfers[:1])
    assert await may_start(ledger, opening)
    await start_from(ledger, opening, clock)
    assert not await may_start(ledger, opening)
    found = {t.id: t for t in await totals_of(ledger)}
    assert (found[1], found[2]) == (Totals(1, 50, 0), Totals(2, 0, 50))
    await ledger.close()


async def test_a_ledger_that_used_an_entry_s_id_otherwise_is_not_empty(tmp_path: Path) -> None:
    clock = ManualClock()
    known = {1: Account(id=1, ledger=1, code=100), 2: Account(id=2, ledger=1, code=200)}
    opening = plan_opening([Totals(1, 50, 0), Totals(2, 0, 50)], known, opening_of)
    ledger = EmbeddedLedger(tmp_path / "ledger", clock)
    await ledger.open()
    await ledger.create_accounts(opening.accounts)
    first = opening.transfers[0]
    await ledger.create_transfers(
        [
            Transfer(
                id=first.id,
                debit_account_id=first.debit_account_id,
                credit_account_id=first.credit_account_id,
                amount=7,
                ledger=1,
                code=1,
            )
        ]
    )
    assert not await may_start(ledger, opening)
    await ledger.close()
