"""`bursar settlements ...` as an operator runs it, without an engine and beside one."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from tests.cli.shell import Home, base_config
from tests.cli.test_ledger import LEDGER, NOWHERE, book, running, step

SETTLEMENT = """
[settlement.thresholds]
peers.p = 900
"""


def home_of(path: Path, settlement: str = SETTLEMENT) -> Home:
    home = Home(path)
    home.write_config(base_config(NOWHERE) + LEDGER + settlement)
    return home


async def state_of(home: Home, peer: str = "p") -> dict[str, object]:
    listed = await home.run("settlements", "list", "--filter", f"peer:{peer} token:usd", "--json")
    [row] = listed.json()
    return dict(row)


async def test_a_settlement_is_started_failed_started_again_and_completed_in_part(
    tmp_path: Path,
) -> None:
    home = home_of(tmp_path)
    assert await book(home, step(1)) == ["created"]
    asked = await state_of(home)
    assert (asked["state"], asked["currentBalance"], asked["threshold"], asked["sharePercent"]) == (
        "SETTLEMENT_PENDING", "1000", "900", 111,
    )  # fmt: skip
    key = str(asked["idempotencyKey"])

    early = await home.run("settlements", "complete", "p", "USD")
    assert early.code == 1
    assert "SETTLEMENT_PENDING" in early.err
    started = await home.run("settlements", "start", "p", "USD")
    assert started.code == 0, started.err
    assert "1000" in started.out
    again = await home.run("settlements", "start", "p", "USD")
    assert again.code == 1
    assert "SETTLEMENT_IN_PROGRESS" in again.err

    failed = await home.run("settlements", "fail", "p", "USD", "--reason", "bank closed")
    assert failed.code == 0, failed.err
    pending = await state_of(home)
    assert (pending["state"], pending["attempt"], pending["idempotencyKey"]) == (
        "SETTLEMENT_PENDING", 1, key,
    )  # fmt: skip
    explained = await home.run("settlements", "explain", "p", "USD", "--json")
    assert "bank closed" in explained.json()["words"]

    assert (await home.run("settlements", "start", "p", "USD")).code == 0
    other = await home.run("settlements", "complete", "p", "USD", "--key", "f" * 32)
    assert other.code == 1
    done = await home.run(
        "settlements", "complete", "p", "USD", "--amount", "600", "--key", key, "--json"
    )
    assert (done.code, done.json()["changed"]) == (0, 1), done.err
    settled = await state_of(home)
    assert (settled["state"], settled["currentBalance"], settled["settledAmount"]) == (
        "IDLE", "400", "600",
    )  # fmt: skip


async def test_a_threshold_is_set_while_the_engine_runs_and_kept_after_it(tmp_path: Path) -> None:
    home = home_of(tmp_path, "")
    async with running(home):
        assert await book(home, step(1)) == ["created"]
        unset = await home.run("settlements", "explain", "p", "USD")
        assert "not monitored" in unset.out
        above = await home.run("settlements", "threshold", "99999", "--peer", "p")
        assert above.code == 1
        assert "credit limit" in above.err
        near = await home.run("settlements", "threshold", "1,499", "--peer", "p")
        assert near.code == 0
        assert "closer than 5 %" in near.err
        set_ = await home.run(
            "settlements", "threshold", "50%", "--peer", "p", "--token", "USD", "--reason", "risk"
        )
        assert set_.code == 0, set_.err
        row = await state_of(home)
        assert (row["threshold"], row["state"]) == ("750", "SETTLEMENT_PENDING")
    kept = await state_of(home)
    assert kept["threshold"] == "750"
    assert (
        await home.run("settlements", "threshold", "configured", "--peer", "p", "--token", "USD")
    ).code == 0
    assert (await state_of(home))["threshold"] == "1499"


async def test_the_list_is_a_table_or_csv_in_the_boards_order(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    await book(home, step(1))
    table = await home.run("settlements", "list")
    assert table.code == 0, table.err
    head, first, *_ = table.out.splitlines()
    assert head.split("\t")[:5] == ["PEER", "TOKEN", "DIRECTION", "STATE", "NOW"]
    assert first.split("\t")[:4] == ["p", "USD", "receivable", "SETTLEMENT_PENDING"]
    assert first.split("\t")[4].startswith("waits")
    parsed = list(csv.DictReader(io.StringIO((await home.run("settlements", "list", "--csv")).out)))
    assert parsed[0]["peerId"] == "p"
    assert {row["peerId"] for row in parsed} == {"p", "q"}


async def test_wrong_use_exits_2_and_changes_nothing(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    await book(home, step(1))
    before = await state_of(home)
    for wrong in (
        ("start", "p", "USD", "--amount", "0"),
        ("start", "p", "USD", "--amount", "1.5"),
        ("start", "p", "USD", "--direction", "sideways"),
        ("fail", "p", "USD"),
        ("fail", "p", "USD", "--reason", " "),
        ("threshold", "many"),
        ("threshold", "5", "--token", "USD"),
        ("list", "--filter", "state:done"),
    ):
        ended = await home.run("settlements", *wrong)
        assert ended.code == 2, (wrong, ended.err)
    assert await state_of(home) == before
    unknown = await home.run("settlements", "start", "nobody", "USD")
    assert unknown.code == 1
