"""`bursar ledger ...` as an operator runs it, beside a running engine and without one."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import shlex
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.accounting import Kind, account_id
from core.api import PacketStep, RecordSettlement
from core.clock import SystemClock
from core.config import load_settings
from core.engine import EngineMode, connect
from core.model import Amount
from core.service.client import EngineClient
from tests.cli.shell import Home, base_config, base_node, csv_of, small_world

LEDGER = """
[ledger]
tokens = ["USD", "ILP"]
[ledger.limits]
default = 5000
peers.p = 1500
peers.q = 100000
"""
STRICT = '[custody]\npolicy = "strict"\nfinality = 0\n'
NOWHERE = "http://127.0.0.1:9"


def step(number: int, stage: str = "record", timeout_s: int = 0) -> PacketStep:
    return PacketStep(stage, f"p-{number}", "p", "q", "USD", Amount(1000), Amount(990), timeout_s)


async def book(home: Home, *steps: PacketStep) -> list[str]:
    """Book steps through whatever engine the directory has, as a gateway would."""
    api = await connect(load_settings(str(home.config), {}), EngineMode.COMMAND)
    try:
        return [outcome.status for outcome in await api.packets(steps)]
    finally:
        await api.close()


@asynccontextmanager
async def running(home: Home) -> AsyncIterator[list[str]]:
    """`bursar run`; gives its first two lines."""
    process = await home.start("run")
    assert process.stdout is not None
    first = [(await asyncio.wait_for(process.stdout.readline(), 60)).decode() for _ in range(2)]
    try:
        yield first
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), 60)


async def test_the_worked_example_on_the_command_line_without_an_engine(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.write_config(base_config(NOWHERE) + LEDGER)
    empty = await home.run("ledger", "accounts", "--json")
    assert (empty.code, empty.json()) == (0, []), empty.err
    assert await book(home, step(1), step(1)) == ["created", "exists"]

    rows = {row["peer"]: row for row in (await home.run("ledger", "accounts", "--json")).json()}
    assert (rows["p"]["receivable"], rows["p"]["net"], rows["p"]["headroom"]) == (
        "1000", "1000", "500",
    )  # fmt: skip
    assert (rows["q"]["payable"], rows["q"]["net"]) == ("990", "-990")
    parsed = csv.DictReader(io.StringIO((await home.run("ledger", "accounts", "--csv")).out))
    assert {row["peer"]: row["net"] for row in parsed} == {"p": "1000", "q": "-990"}
    only = (await home.run("ledger", "accounts", "--peer", "q", "--json")).json()
    assert [row["peer"] for row in only] == ["q"]

    trial = await home.run("ledger", "trial-balance", "--json")
    assert trial.code == 0
    usd = next(row for row in trial.json() if row["name"] == "USD")
    # the packet's two legs and the credit lines of p and q
    assert usd["debits"] == usd["credits"] == str(1990 + 1500 + 100_000)
    assert all(row["balanced"] for row in trial.json())
    table = await home.run("ledger", "trial-balance")
    assert table.out.splitlines()[0].split() == [
        "LEDGER", "NAME", "ACCOUNTS", "DEBITS", "CREDITS", "DEBITSPENDING", "CREDITSPENDING",
        "BALANCED", "CONFIRMED",
    ]  # fmt: skip

    newest, *_ = (await home.run("ledger", "transfers", "p", "USD", "--json")).json()
    assert (newest["side"], newest["kind"], newest["amount"]) == ("receivable", "packet in", "1000")
    nobody = await home.run("ledger", "transfers", "nobody", "USD")
    assert (nobody.code, nobody.err) == (
        1, "bursar: There are no accounts of peer nobody in USD.\n",
    )  # fmt: skip


async def test_the_engine_says_its_backend_and_answers_the_same_commands(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.write_config(base_config(NOWHERE) + LEDGER)
    async with running(home) as lines:
        assert lines[1].startswith("Accounting backend: embedded ledger (journal: ")
        assert str(home.data) in lines[1]
        client = EngineClient(home.data / "engine.sock")
        [outcome] = await client.packets([step(1)])
        assert outcome.status == "created"
        settled = await client.execute(RecordSettlement("p", "USD", "receivable", Amount(400), "t"))
        assert settled.changed == 1
        assert {(p.peer, p.receivable) for p in await client.peer_balances()} == {
            ("p", 600), ("q", 0),
        }  # fmt: skip
        assert all(trial.balanced for trial in await client.trial_balance())
        assert sum(t.debits_posted for t in await client.ledger_totals()) == 1990 + 400 + 101_500
        await client.close()
        (row, _) = (await home.run("ledger", "accounts", "--json")).json()
        assert row["receivable"] == "600"
        assert (await home.run("ledger", "trial-balance")).code == 0
        checked = await home.run("ledger", "check")  # beside the engine that writes
        assert checked.code == 0, checked.out
    assert "Accounting backend: embedded ledger" in (home.data / "logs" / "bursar.log").read_text()


async def test_check_names_file_and_offset_and_changes_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.write_config(base_config(NOWHERE) + LEDGER)
    await home.run("init", "--config", "x.toml")
    await book(home)
    await book(home, *(step(number) for number in range(1)))
    fine = await home.run("ledger", "check", "--json")
    assert fine.code == 0, fine.err
    report = fine.json()
    assert report["damage"] == []
    assert report["transfers"] >= 4
    folder = home.data / "gen-0001" / "ledger"
    journal = sorted(folder.glob("journal-*.log"))[0]
    content = bytearray(journal.read_bytes())
    content[90] ^= 1
    journal.write_bytes(content)
    for snapshot in folder.glob("snapshot-*"):
        snapshot.unlink()
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    damaged = await home.run("ledger", "check")
    assert damaged.code == 1
    line = next(line for line in damaged.out.splitlines() if line.startswith("BAD"))
    assert str(journal) in line
    assert "at byte " in line
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    refused = await home.run("ledger", "accounts")
    assert refused.code == 1
    assert "nothing was changed on disk" in refused.err
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    examined = await home.run("doctor", "--json")
    assert "ledger files" in {
        check["name"] for check in examined.json()["checks"] if check["verdict"] == "bad"
    }
    nowhere = await home.run("ledger", "check", str(tmp_path / "none"))
    assert nowhere.code == 2


async def test_export_and_import_carry_every_total_and_the_books_go_on(tmp_path: Path) -> None:
    world, clock = small_world()
    async with base_node(world) as node:
        first, second = Home(tmp_path / "a"), Home(tmp_path / "b")
        for home in (first, second):
            home.path.mkdir()
            (home.path / "agents.csv").write_text(csv_of(world))
            home.write_config(base_config(node.url) + LEDGER + STRICT)
            assert (await home.run("wallets", "import", "agents.csv")).code == 0
            assert (await home.run("sync")).code == 0
        held = (await first.run("ledger", "reconcile", "--json")).json()
        contract = next(row["contract"] for row in held if row["token"] == "USDC")
        assert set(await book(first, step(1), step(2, "prepare", 3600))) == {
            "created", "exceeds_credits",
        }  # fmt: skip
        exported = await first.run("ledger", "export", "totals.json")
        assert exported.code == 0, exported.err
        rows = json.loads((first.path / "totals.json").read_text())
        assert (await first.run("ledger", "export", "-")).out == (
            first.path / "totals.json"
        ).read_text()
        assert (first.path / "totals.json").stat().st_mode & 0o777 == 0o600
        shutil.copy(first.path / "totals.json", second.path / "totals.json")

        imported = await second.run("ledger", "import", "totals.json", "--json")
        assert imported.code == 0, imported.err
        assert imported.json()["details"] == []
        again = await second.run("ledger", "import", "totals.json")
        assert (again.code, "only an empty one" in again.err) == (1, True)
        carried = dict(json.loads((await second.run("ledger", "export", "-")).out))
        assert {id_: _net(entry) for id_, entry in carried.items()} == {
            id_: _net(entry) for id_, entry in rows
        }
        names = ("USD", "ILP", "base:ETH", f"base:USDC@{contract}")
        openings = {str(account_id("bursar", "", name, Kind.OPENING)) for name in names}
        assert len(openings & carried.keys()) == 4  # only their net is kept
        assert all(carried[id_] == entry for id_, entry in rows if id_ not in openings)

        listed = (await second.run("ledger", "accounts", "--json")).json()
        peers = {row["peer"]: row for row in listed if row["token"] == "USD"}
        assert (peers["p"]["receivable"], peers["p"]["headroom"]) == ("1000", "500")
        assert peers["q"]["payable"] == "990"
        assert await book(second, step(7)) == ["exceeds_credits"]  # the limit of 1500 holds on
        agree = await second.run("ledger", "reconcile", "--all", "--json")
        assert agree.code == 0
        assert {row["state"] for row in agree.json()} == {"equal"}  # not opened a second time
        assert (await second.run("ledger", "trial-balance")).code == 0
        clock.ms += 1


def _net(entry: dict[str, str]) -> int:
    return int(entry["debits_posted"]) - int(entry["credits_posted"])


async def test_ids_of_nobody_known_are_listed_and_kept(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.write_config(base_config(NOWHERE) + LEDGER)
    rows = [["77", {"debits_posted": "10", "credits_posted": "3"}]]
    (tmp_path / "f.json").write_text(json.dumps(rows))
    done = await home.run("ledger", "import", "f.json")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "foreign: 77"
    kept = dict(json.loads((await home.run("ledger", "export", "-")).out))
    assert kept["77"] == rows[0][1]
    (tmp_path / "bad.json").write_text('[["77", {"debits_posted": "-1", "credits_posted": "3"}]]')
    bad = await home.run("ledger", "import", "bad.json")
    assert (bad.code, "entry 1" in bad.err) == (2, True)


async def test_movements_are_booked_from_csv_and_unexplained_ones_exit_with_3(
    tmp_path: Path,
) -> None:
    world, clock = small_world(40)
    home = Home(tmp_path)
    (tmp_path / "agents.csv").write_text(csv_of(world))
    async with base_node(world) as node:
        home.write_config(base_config(node.url) + LEDGER + STRICT)
        await home.run("wallets", "import", "agents.csv")
        await home.run("sync")
        opened = await home.run("ledger", "reconcile", "--json")
        assert (opened.code, {row["state"] for row in opened.json()}) == (0, {"opened"})
        clock.ms += 600_000
        await home.run("sync")
        found = await home.run("ledger", "reconcile", "--json")
        assert found.code == 3
        off = [row for row in found.json() if row["state"] == "unexplained"]
        assert off
        events = (await home.run("export", "events")).out.splitlines()
        told = [json.loads(e) for e in events if json.loads(e)["type"] == "CUSTODY_UNEXPLAINED"]
        assert {(e["agentId"], e["token"], e["unexplained"]) for e in told} == {
            (row["agentId"], row["token"], row["unexplained"]) for row in off
        }
        assert (await home.run("ledger", "reconcile")).code == 3
        assert len((await home.run("export", "events")).out.splitlines()) == len(events)

        *most, last = off
        lines = ["agent,chain,asset,amount,reference"] + [
            f"{row['agentId']},base,{row['token']},{_decimal(row)},tx-{number}"
            for number, row in enumerate(most)
        ]
        broken = [*lines, "x,base,ETH,one,tx"]
        (tmp_path / "broken.csv").write_text("\n".join(broken))
        refused = await home.run("ledger", "movements", "broken.csv")
        assert (refused.code, f"broken.csv:{len(broken)}: " in refused.err) == (2, True)
        (tmp_path / "moves.csv").write_text("\n".join(lines))
        done = await home.run("ledger", "movements", "moves.csv", "--json")
        assert (done.code, done.json()["changed"]) == (0, len(most)), done.err
        assert (await home.run("ledger", "movements", "moves.csv", "--json")).json()["changed"] == 0
        said = await home.run(
            "ledger", "explain", last["agentId"], "base", last["token"], "--reason", "invoice 7"
        )
        assert said.code == 0, said.err
        assert (await home.run("ledger", "reconcile")).code == 0
        lines = (await home.run("export", "events")).out.splitlines()
        ends = [json.loads(e) for e in lines if json.loads(e)["type"] == "CUSTODY_EXPLAINED"]
        assert len(ends) == len(off)
        assert [e["booked"] for e in ends if e["reason"] == "invoice 7"] == [last["unexplained"]]


def _decimal(row: dict[str, str | int]) -> str:
    from tui.text import plain

    return plain(int(row["unexplained"]), int(row["decimals"]))


async def test_a_migration_is_refused_while_a_packet_may_still_lapse(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.write_config(base_config(NOWHERE) + LEDGER)
    assert await book(home, step(1, "prepare", 3600)) == ["created"]
    cluster = ("--cluster-id", "0", "--replicas", "127.0.0.1:1")
    waiting = await home.run("ledger", "migrate", "--to", "tigerbeetle", *cluster)
    assert waiting.code == 1
    assert "2 transfers are pending with a time-out" in waiting.err
    other = await home.run("ledger", "migrate", "--to", "sqlite", *cluster)
    unnamed = await home.run("ledger", "migrate", "--to", "tigerbeetle")
    assert (other.code, unnamed.code) == (2, 2)
    assert await book(home, step(1, "reject")) == ["created"]
    async with running(home):
        busy = await home.run("ledger", "migrate", "--to", "tigerbeetle", *cluster)
        assert (busy.code, "Stop it first" in busy.err) == (1, True)


async def test_doctor_names_the_backend_and_a_missing_cluster_within_ten_seconds(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path)
    home.write_config(LEDGER)
    checks = (await home.run("doctor", "--json")).json()["checks"]
    backend = next(check for check in checks if check["name"] == "accounting backend")
    assert backend["finding"].startswith("embedded ledger (journal: ")
    clock = SystemClock()
    started = clock.monotonic()
    lost = await home.run(
        "doctor", "--json", TIGERBEETLE_CLUSTER_ID="0", TIGERBEETLE_REPLICAS="127.0.0.1:1"
    )
    assert clock.monotonic() - started < 15  # the process's own start included
    backend = next(c for c in lost.json()["checks"] if c["name"] == "accounting backend")
    assert backend["verdict"] == "bad"
    assert backend["finding"].startswith("TigerBeetle (cluster: 0, replicas: 127.0.0.1:1)")


@pytest.mark.slow
async def test_every_command_in_the_handbook_does_what_it_says(tmp_path: Path) -> None:
    handbook = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text()
    block = handbook.partition("```sh\n")[2].partition("```")[0]
    commands = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert len(commands) >= 14
    world, clock = small_world(40)
    home, fresh = Home(tmp_path / "a"), Home(tmp_path / "b")
    async with base_node(world) as node:
        for each in (home, fresh):
            each.path.mkdir()
            (each.path / "agents.csv").write_text(csv_of(world))
            each.write_config(base_config(node.url) + LEDGER + STRICT)
            await each.run("wallets", "import", "agents.csv")
            await each.run("sync")
        await book(home, step(1))
        await home.run("ledger", "reconcile")
        clock.ms += 600_000
        await home.run("sync")
        off = [
            row
            for row in (await home.run("ledger", "reconcile", "--json")).json()
            if row["state"] == "unexplained" and row["token"] == "USDC"
        ]
        lines = [f"{row['agentId']},base,USDC,{_decimal(row)},tx" for row in off[1:]]
        (home.path / "movements.csv").write_text("\n".join(lines))
        # What is unexplained when a command is run exits with 3, and a cluster that is not there
        # cannot be moved to; an import needs a ledger that is empty.
        codes = {"reconcile": {0, 3}, "migrate": {1}}
        for words in commands:
            assert words[0] == "bursar"
            words = [off[0]["agentId"] if word == "AGENT" else word for word in words[1:]]
            verb = words[1] if words[0] == "ledger" else words[0]
            where = home
            if verb == "import":
                where = fresh
                (fresh.path / "data").mkdir(exist_ok=True)
                shutil.copy(home.path / words[2], fresh.path / words[2])
            if verb == "doctor":
                clock.ms -= 600_000  # blocks from the future would be a problem of this machine
            done = await where.run(*words)
            assert done.code in codes.get(verb, {0}), (words, done)
            assert done.out or done.err
            if verb == "migrate":
                assert "TigerBeetle" in done.err
