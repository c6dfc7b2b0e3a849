"""The engine's ledger as files: the plain file of the settings, foreign ids, a move elsewhere."""

from __future__ import annotations

import errno
import json
import sqlite3
from pathlib import Path

import msgspec
import pytest

from core.accounting import Kind, account_id
from core.api import (
    AccountTotals,
    CommandRefusedError,
    ImportTotals,
    ImportWallets,
    LedgerAwayError,
    SyncNow,
    WalletRow,
)
from core.clock import SystemClock
from core.config import Settings
from core.engine import Engine, EngineMode
from core.engine.ledger_io import ledger_folder, migrate_files
from core.ledger import EmbeddedLedger
from core.ledger.files import RealFile
from core.ledger.migration import MigrationRefused
from core.model import Amount
from tests.cli.shell import base_node, small_world
from tests.engine.test_books import packet, ready, running, settings, until

NAMED = """
[settlement.thresholds.peers]
p = 1000
q = 1000
"""


def with_file(tmp_path: Path, folder: str, url: str = "http://127.0.0.1:9") -> Settings:
    """Settings of one data directory; all share the plain file."""
    wanted = settings(tmp_path / folder, url, NAMED)
    ledger = msgspec.structs.replace(wanted.ledger, snapshot_path=str(tmp_path / "plain.json"))
    return msgspec.structs.replace(wanted, ledger=ledger)


async def totals(engine: Engine) -> dict[str, tuple[int, int]]:
    return {
        t.id: (int(t.debits_posted), int(t.credits_posted)) for t in await engine.ledger_totals()
    }


async def test_the_plain_file_is_written_at_close_and_an_empty_ledger_starts_from_it(
    tmp_path: Path,
) -> None:
    async with running(with_file(tmp_path, "a"), EngineMode.COMMAND) as engine:
        await engine.packets([packet(1), packet(2)])
        before = await totals(engine)
    written = dict(json.loads((tmp_path / "plain.json").read_text()))
    assert {id_: int(entry["debits_posted"]) for id_, entry in written.items()} == {
        id_: debits for id_, (debits, _) in before.items()
    }
    async with running(with_file(tmp_path, "b")) as engine:
        await ready(engine)
        after = await totals(engine)
        opening = str(account_id("bursar", "", "USD", Kind.OPENING))
        assert {k: v for k, v in after.items() if k in before and k != opening} == {
            k: v for k, v in before.items() if k != opening
        }
        peers = {p.peer: p for p in await engine.peer_balances() if p.token == "USD"}
        assert (peers["p"].receivable, peers["p"].headroom) == (2000, 3000)
        assert peers["q"].payable == 1980
        assert [o.status for o in await engine.packets([packet(3)])] == ["created"]
        assert all(trial.balanced for trial in await engine.trial_balance())
        ledger = (await engine.state()).ledger
        assert ledger is not None
        assert any("started from" in notice for notice in ledger.notices)
    # A ledger that holds something does not look at the file again.
    (tmp_path / "plain.json").write_text("[]")
    async with running(with_file(tmp_path, "b"), EngineMode.COMMAND) as engine:
        assert {p.receivable for p in await engine.peer_balances() if p.peer == "p"} == {3000}


async def test_a_file_that_is_none_keeps_the_ledger_away_and_is_left_as_it_is(
    tmp_path: Path,
) -> None:
    (tmp_path / "plain.json").write_text('[["1", {"debits_posted": "5"')
    async with running(with_file(tmp_path, "a"), EngineMode.COMMAND) as engine:
        with pytest.raises(LedgerAwayError, match=r"plain\.json is not a ledger snapshot"):
            await engine.packets([packet(1)])
        ledger = (await engine.state()).ledger
        assert ledger is not None
        assert not ledger.ok
    assert (tmp_path / "plain.json").read_text() == '[["1", {"debits_posted": "5"'


async def test_totals_that_cannot_be_booked_are_refused_and_a_later_import_works(
    tmp_path: Path,
) -> None:
    debit = str(account_id("bursar", "p", "USD", Kind.DEBIT))
    async with running(settings(tmp_path, more=NAMED), EngineMode.COMMAND) as engine:
        beyond = AccountTotals(debit, Amount(51), Amount(50))  # more owed than any line funded
        with pytest.raises(CommandRefusedError, match="exceeds_credits"):
            await engine.execute(ImportTotals((beyond,)))
        with pytest.raises(CommandRefusedError, match="entry 1"):
            await engine.execute(ImportTotals((AccountTotals("x", Amount(1), Amount(1)),)))
        fine = AccountTotals(debit, Amount(50), Amount(50))
        assert (await engine.execute(ImportTotals((fine,)))).changed == 1
        with pytest.raises(CommandRefusedError, match="only an empty one"):
            await engine.execute(ImportTotals((fine,)))


async def test_accounts_imported_before_their_owner_was_known_stay_foreign_and_say_so(
    tmp_path: Path,
) -> None:
    world, _ = small_world()
    rows = tuple(WalletRow(a.id, "base", a.addresses["base"]) for a in world.agents)
    async with base_node(world) as node:
        wanted = settings(tmp_path, node.url)
        early = account_id("bursar", world.agents[0].id, "base:ETH", Kind.CUSTODY)
        stranger = account_id("bursar", "stranger", "USD", Kind.DEBIT)
        async with running(wanted, EngineMode.COMMAND) as engine:
            made = [AccountTotals(str(id_), Amount(7), Amount(9)) for id_ in (early, stranger)]
            outcome = await engine.execute(ImportTotals(tuple(made)))
            assert set(outcome.details) == {str(early), str(stranger)}
            await engine.execute(ImportWallets(rows))
            await engine.execute(SyncNow())
            found = {view.account: view for view in await engine.reconcile()}
            states = [view.state for view in found.values()]
            assert states.count("unread") == 1  # the others go on
            assert states.count("opened") == len(states) - 1
            assert any("foreign" in view.reason for view in found.values())
            with pytest.raises(CommandRefusedError, match="exists_with_different"):
                await engine.packets([packet(1, source="stranger")])
            assert [o.status for o in await engine.packets([packet(2)])] == ["created"]
        async with running(wanted, EngineMode.COMMAND) as engine:
            # its name was kept with the refused packet; the rest of the ledger opens all the same
            assert {p.peer for p in await engine.peer_balances()} == {"p", "q"}
            assert {v.state for v in await engine.reconcile()} == {"unread", "equal"}


async def test_a_full_disk_stops_the_ledger_in_words_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _ = small_world()
    rows = tuple(WalletRow(a.id, "base", a.addresses["base"]) for a in world.agents)
    async with base_node(world) as node:
        wanted = settings(tmp_path, node.url)
        async with running(wanted) as engine:
            await ready(engine)
            await engine.execute(ImportWallets(rows))
            assert [o.status for o in await engine.packets([packet(1)])] == ["created"]

            def full(file: RealFile, data: bytes | bytearray) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            with monkeypatch.context() as patch:
                patch.setattr(RealFile, "append", full)
                with pytest.raises(LedgerAwayError, match="No space left"):
                    await engine.packets([packet(2)])
                ledger = (await engine.state()).ledger
                assert ledger is not None
                assert (ledger.ok, "No space left" in ledger.reason) == (False, True)
                with pytest.raises(LedgerAwayError):
                    await engine.trial_balance()
                read = await engine.execute(SyncNow())
                assert read.message.startswith("Read 10 balances")
                await until(lambda: engine.live.worker is not None, "the sync worker goes on")
        async with running(wanted, EngineMode.COMMAND) as engine:
            assert [o.status for o in await engine.packets([packet(1), packet(2)])] == [
                "exists",
                "created",
            ]


async def test_names_are_kept_before_the_ledger_has_their_accounts(tmp_path: Path) -> None:
    async with running(settings(tmp_path), EngineMode.COMMAND) as engine:
        await engine.packets([packet(1)])
        # Before any view was made: a kill here must not leave accounts without names.
        assert ("p", "USD") in await engine.live.store.pairs()
        assert ("q", "USD") in await engine.live.store.pairs()


async def test_a_ledger_is_carried_over_with_its_timestamps_once_nothing_can_lapse(
    tmp_path: Path,
) -> None:
    wanted = settings(tmp_path)
    async with running(wanted, EngineMode.COMMAND) as engine:
        await engine.packets([packet(1)])
        folder = ledger_folder(engine.directory.generation())
        before = await totals(engine)
    target = EmbeddedLedger(tmp_path / "target")
    report = await migrate_files(folder, target, SystemClock())
    assert report.accounts == len(before)
    await target.open()
    rows = await target.lookup_accounts([int(id_) for id_ in before])
    assert {str(r.id): (r.debits_posted, r.credits_posted) for r in rows} == before
    await target.close()
    with pytest.raises(MigrationRefused, match="nothing to carry"):
        await migrate_files(tmp_path / "none", target, SystemClock())
    assert not (tmp_path / "none").exists()


async def test_peers_named_in_the_settings_are_found_again_without_the_database(
    tmp_path: Path,
) -> None:
    wanted = settings(tmp_path, more=NAMED)
    async with running(wanted, EngineMode.COMMAND) as engine:
        await engine.packets([packet(1), packet(2, source="unnamed")])
        database = engine.directory.database
    connection = sqlite3.connect(database)
    connection.execute("DELETE FROM pairs")
    connection.commit()
    connection.close()
    async with running(wanted, EngineMode.COMMAND) as engine:
        assert {p.peer: p.net for p in await engine.peer_balances()} == {"p": 1000, "q": -1980}
        await engine.packets([packet(3, source="unnamed")])
        assert {p.peer for p in await engine.peer_balances()} == {"p", "q", "unnamed"}


async def test_a_ledger_of_readings_alone_is_not_mistaken_for_an_empty_one(tmp_path: Path) -> None:
    world, _ = small_world()
    rows = tuple(WalletRow(a.id, "base", a.addresses["base"]) for a in world.agents)
    async with base_node(world) as node:
        wanted = with_file(tmp_path, "a", node.url)
        async with running(wanted, EngineMode.COMMAND) as engine:
            await engine.execute(ImportWallets(rows))
            await engine.execute(SyncNow())
            assert {view.state for view in await engine.reconcile()} == {"opened"}
            before = await totals(engine)
        assert (tmp_path / "plain.json").exists()
        for _ in range(2):
            async with running(wanted, EngineMode.COMMAND) as engine:
                assert {view.state for view in await engine.reconcile()} == {"equal"}
                assert await totals(engine) == before
