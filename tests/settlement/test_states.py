"""The table of states, cell by cell, and that it says what the handbook says."""

from __future__ import annotations

import itertools

import pytest

from core.settlement import TABLE, Cause, IllegalTransition, SettlementState, walk
from core.settlement.states import COMMANDS, legal_in, wanted
from tests.settlement.conftest import IDLE, IN_PROGRESS, PENDING, Node

LEGAL = {
    (IDLE, Cause.EXCEEDED): PENDING,
    (PENDING, Cause.BACK): IDLE,
    (PENDING, Cause.BEGIN): IN_PROGRESS,
    (IN_PROGRESS, Cause.COMPLETE): IDLE,
    (IN_PROGRESS, Cause.FAIL): PENDING,
}
ILLEGAL_COMMANDS = [
    (state, cause)
    for state, cause in itertools.product(SettlementState, sorted(COMMANDS))
    if (state, cause) not in LEGAL
]


@pytest.mark.parametrize("state", SettlementState)
@pytest.mark.parametrize("cause", Cause)
def test_every_cell_is_as_specified(state: SettlementState, cause: Cause) -> None:
    assert walk(state, cause) == LEGAL.get((state, cause))


def test_every_cause_is_legal_in_one_state_and_every_state_can_be_left() -> None:
    for cause in Cause:
        assert walk(legal_in(cause), cause) is wanted(cause)
        assert sum(cause in cells for cells in TABLE.values()) == 1
    assert all(TABLE[state] for state in SettlementState)


def test_there_are_six_illegal_cells_among_the_commands() -> None:
    assert len(ILLEGAL_COMMANDS) == 6


async def bring(node: Node, state: SettlementState) -> None:
    await node.start()
    await node.owe(100 if state is IDLE else 120)
    if state is not IDLE:
        await node.state_becomes(PENDING)
    if state is IN_PROGRESS:
        await node.monitor.mark_settlement_in_progress("P", "USD")


async def give(node: Node, cause: Cause) -> None:
    if cause is Cause.BEGIN:
        await node.monitor.mark_settlement_in_progress("P", "USD")
    elif cause is Cause.COMPLETE:
        await node.monitor.mark_settlement_completed("P", "USD")
    else:
        await node.monitor.mark_settlement_failed("P", "USD", reason="no funds")


@pytest.mark.parametrize(("state", "cause"), ILLEGAL_COMMANDS)
async def test_an_illegal_command_changes_nothing_and_is_reported_and_logged(
    node: Node, caplog: pytest.LogCaptureFixture, state: SettlementState, cause: Cause
) -> None:
    await bring(node, state)
    rows, seq = await node.store.settlements(), await node.store.last_seq()
    balance = await node.manager.get_account_balance("P", "USD")
    caplog.clear()
    with pytest.raises(IllegalTransition) as caught:
        await give(node, cause)
    told = str(caught.value)
    assert all(part in told for part in ("peer P", "USD", state, wanted(cause), cause))
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [told]
    assert (await node.store.settlements(), await node.store.last_seq()) == (rows, seq)
    assert await node.manager.get_account_balance("P", "USD") == balance
    assert node.monitor.get_settlement_state("P", "USD") is state


@pytest.mark.parametrize(("state", "cause"), [cell for cell in LEGAL if cell[1] in COMMANDS])
async def test_a_legal_command_leads_where_the_table_says(
    node: Node, state: SettlementState, cause: Cause
) -> None:
    await bring(node, state)
    await give(node, cause)
    assert node.monitor.get_settlement_state("P", "USD") is LEGAL[state, cause]
