"""Restores as an operator makes them, from plan to undo, on the real engine."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from core.api import (
    CommandRefusedError,
    CreateWallets,
    DrillBackup,
    EngineLostError,
    EventQuery,
    ReleaseSettlements,
    RestoreRequest,
    StartSettlement,
    StatePatch,
    TagAgents,
)
from core.backup.records import AnyRecord, DerivationBranch, LedgerCheckpoint, Setting
from core.engine import EngineMode
from core.model import Secret
from core.service.client import EngineClient
from tests.backup.generations import PASSWORD, book, records_of
from tests.backup.machines import Machine, back_up, planned


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fresh machine's home is this process's, so that its settings go there."""
    monkeypatch.setenv("HOME", str(tmp_path / "fresh"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("BASE_KEY", "s3cr3t")


async def installed(tmp_path: Path, agents: int = 5) -> tuple[Machine, Path]:
    """A machine with an installation, and a full backup of it."""
    machine = Machine(tmp_path / "first")
    await machine.install(tmp_path / "shelf", agents)
    async with machine.engine() as engine:
        file = await back_up(engine)
    return machine, file


def facts(machine: Machine) -> list[AnyRecord]:
    """What an installation holds, but for the ledger's files and the settings' own path."""
    generation = machine.data / (machine.data / "CURRENT").read_text().strip()
    kept = records_of(generation, machine.settings())
    return [r for r in kept if not isinstance(r, LedgerCheckpoint | Setting)]


async def test_a_fresh_machine_gets_everything_back_from_a_file_and_a_password(
    tmp_path: Path,
) -> None:
    first, file = await installed(tmp_path)
    fresh = Machine(tmp_path / "fresh")
    async with fresh.engine() as engine:
        plan = await planned(engine, file)
        assert (plan.confirm, plan.addresses, plan.watch_only) == ("", 20, 1)
        result = await engine.apply_restore(plan.id, "")
        assert result.generation.startswith("gen-0002-")
        assert result.safety_backup == ""
        assert {agent.id for agent in (await engine.state()).agents} >= {"agent-00000", "watched"}
        assert engine.settings.settlement.node_id == "node"
    assert facts(fresh) == facts(first)
    assert fresh.config.exists()
    assert (fresh.data / "backup-key.json").read_bytes() == (
        first.data / "backup-key.json"
    ).read_bytes()
    async with fresh.engine() as engine:  # backups go on
        again = await back_up(engine, "incremental")
        assert again.exists()


async def test_an_archive_with_any_name_is_restored_and_its_parents_are_found(
    tmp_path: Path,
) -> None:
    first, full = await installed(tmp_path)
    async with first.engine() as engine:
        await engine.execute(TagAgents(("agent-00001",), group="night"))
        incremental = await back_up(engine, "incremental")
    folder = tmp_path / "downloads"
    folder.mkdir()
    renamed = folder / "the backup (1).bursar"
    renamed.write_bytes(incremental.read_bytes())
    fresh = Machine(tmp_path / "fresh")
    async with fresh.engine() as engine:
        with pytest.raises(CommandRefusedError, match="Fetch that file"):
            await planned(engine, renamed)
        (folder / full.name).write_bytes(full.read_bytes())
        plan = await planned(engine, renamed)
        assert len(plan.chain) == 2
        await engine.apply_restore(plan.id, "")
    assert facts(fresh) == facts(first)


async def test_what_is_there_is_replaced_only_for_who_types_its_name(tmp_path: Path) -> None:
    machine, _ = await installed(tmp_path)
    before = facts(machine)
    async with machine.engine() as engine:
        await engine.execute(CreateWallets(count=2))
        plan = await planned(engine, "shelf")
        assert plan.confirm == "node"
        kinds = {change.kind: (change.added, change.removed) for change in plan.changes}
        assert kinds["agent"] == (0, 2)
        assert kinds["wallet"] == (0, 8)
        with pytest.raises(CommandRefusedError, match="Type the installation's name"):
            await engine.apply_restore(plan.id, "Node")
        result = await engine.apply_restore(plan.id, "node")
        assert result.safety_backup
        state = await engine.state()
        assert state.backups is not None
        assert state.backups.held
        assert state.backups.undo == result.previous == "gen-0001"
        assert state.backups.backups[0].id == result.safety_backup
    # The counter of indices never goes back.
    after = [r for r in facts(machine) if not isinstance(r, DerivationBranch)]
    assert after == [r for r in before if not isinstance(r, DerivationBranch)]


async def test_the_running_ledger_is_kept_where_it_is_whole(tmp_path: Path) -> None:
    machine, _ = await installed(tmp_path)
    await book(machine.data / "gen-0001", 3, first=20)
    async with machine.engine() as engine:
        plan = await planned(engine, "shelf")
        assert "is kept" in plan.ledger
        result = await engine.apply_restore(plan.id, "node")
    assert _sum(machine.data / result.generation) == 10 + 20 + 21 + 22
    assert _sum(machine.data / "gen-0001") == 10 + 20 + 21 + 22


async def test_the_checkpoint_is_used_where_it_is_asked_for(tmp_path: Path) -> None:
    machine, _ = await installed(tmp_path)
    await book(machine.data / "gen-0001", 3, first=20)
    async with machine.engine() as engine:
        plan = await engine.plan_restore(RestoreRequest("shelf", "", "checkpoint"), PASSWORD)
        assert "checkpoint at record" in plan.ledger
        assert any("is left behind" in warning for warning in plan.warnings)
        result = await engine.apply_restore(plan.id, "node")
    assert _sum(machine.data / result.generation) == 10


async def test_a_damaged_ledger_gives_way_to_the_checkpoint(tmp_path: Path) -> None:
    machine, _ = await installed(tmp_path)
    await book(machine.data / "gen-0001", 3, first=20)
    for journal in (machine.data / "gen-0001/ledger").glob("journal-*.log"):
        content = bytearray(journal.read_bytes())
        content[70 if len(content) > 70 else 10] ^= 1
        journal.write_bytes(content)
    async with machine.engine() as engine:
        plan = await planned(engine, "shelf")
        assert any("is damaged" in warning for warning in plan.warnings)
        result = await engine.apply_restore(plan.id, "node")
    assert _sum(machine.data / result.generation) == 10


def _sum(generation: Path) -> int:
    from core.ledger.files import RealFolder
    from core.ledger.recovery import recover

    recovered = recover(RealFolder(generation / "ledger"))
    assert recovered is not None
    return sum(t.amount for t in recovered.state.transfer_order if t.debit_account_id == 1)


async def test_undo_goes_back_and_keeps_what_the_ledger_learned(tmp_path: Path) -> None:
    machine, _ = await installed(tmp_path)
    async with machine.engine() as engine:
        await engine.execute(CreateWallets(count=2, prefix="late"))
        before = {agent.id for agent in (await engine.state()).agents}
        plan = await planned(engine, "shelf")
        restored = await engine.apply_restore(plan.id, "node")
        assert {agent.id for agent in (await engine.state()).agents} != before
        with pytest.raises(CommandRefusedError, match="Type the installation's name"):
            await engine.undo_restore("")
        undone = await engine.undo_restore("node")
        assert {agent.id for agent in (await engine.state()).agents} == before
        assert undone.previous == restored.generation
    assert (machine.data / "CURRENT").read_text().strip() == undone.generation
    async with machine.engine():
        pass  # starts, and drops what can no longer be gone back to
    left = sorted(path.name for path in machine.data.glob("gen-*"))
    assert left == sorted([undone.generation, restored.generation])


async def test_settlements_are_held_until_they_are_released(tmp_path: Path) -> None:
    machine, _ = await installed(tmp_path)
    async with machine.engine() as engine:
        plan = await planned(engine, "shelf")
        await engine.apply_restore(plan.id, "node")
        with pytest.raises(CommandRefusedError, match="held"):
            await engine.execute(StartSettlement("peer-2", "USD"))
    async with machine.engine() as engine:  # a restart does not release them
        state = await engine.state()
        assert state.backups is not None
        assert state.backups.held
        outcome = await engine.execute(ReleaseSettlements("compared with every peer"))
        assert outcome.changed == 1
        state = await engine.state()
        assert state.backups is not None
        assert not state.backups.held
    async with machine.engine() as engine:
        state = await engine.state()
        assert state.backups is not None
        assert not state.backups.held


async def test_no_agent_is_created_before_the_next_addresses_were_looked_at(
    tmp_path: Path,
) -> None:
    machine, _ = await installed(tmp_path)
    async with machine.engine() as engine:
        plan = await planned(engine, "shelf")
        await engine.apply_restore(plan.id, "node")
        with pytest.raises(CommandRefusedError, match="looked at for funds"):
            await engine.execute(CreateWallets(count=1))


@pytest.mark.parametrize(
    ("what", "said"),
    [("password", "was not opened"), ("file", "no Bursar backup"), ("cut", "cut short|whole")],
)
async def test_what_does_not_open_changes_nothing(tmp_path: Path, what: str, said: str) -> None:
    machine, file = await installed(tmp_path)
    source = tmp_path / "a.bursar"
    content = file.read_bytes()
    source.write_bytes(b"something else" if what == "file" else content)
    if what == "cut":
        source.write_bytes(content[:-1])
    password = Secret("another long phrase of an operator") if what == "password" else PASSWORD
    before = facts(machine)
    async with machine.engine() as engine:
        with pytest.raises(CommandRefusedError, match=said):
            await planned(engine, source, password)
        assert not list(machine.data.glob("restore-*"))
        failed = await engine.events(EventQuery(types=("RESTORE_FAILED",)))
        assert failed[-1].payload["stage"] == "plan"
    assert facts(machine) == before
    assert (machine.data / "CURRENT").read_text() == "gen-0001\n"


async def test_a_plan_that_is_not_true_any_more_is_not_applied(tmp_path: Path) -> None:
    machine, _ = await installed(tmp_path)
    async with machine.engine() as engine:
        plan = await planned(engine, "shelf")
        await engine.execute(CreateWallets(count=1))
        with pytest.raises(CommandRefusedError, match=r"agent: .* now .*-1"):
            await engine.apply_restore(plan.id, "node")
        assert len((await engine.state()).agents) == 7
        assert plan.changes == ()
        now = await engine.planned_restore(plan.id)
        assert {change.kind: change.removed for change in now.changes}["agent"] == 1
        result = await engine.apply_restore(plan.id, "node")  # confirmed as it is now
        assert result.wallets == 21
        for gone in (engine.apply_restore(plan.id, "node"), engine.planned_restore(plan.id)):
            with pytest.raises(CommandRefusedError, match="plan is gone"):
                await gone


async def test_addresses_that_are_not_the_seeds_are_refused(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "first")
    await machine.install(tmp_path / "shelf")
    with sqlite3.connect(machine.data / "gen-0001/bursar.db") as db:
        db.execute(
            "UPDATE wallet_addresses SET address = ?, address_key = ? WHERE id = 1",
            ("0x" + "ab" * 20, "0x" + "ab" * 20),
        )
    async with machine.engine() as engine:
        file = await back_up(engine)
        with pytest.raises(CommandRefusedError, match="1 of 21 addresses are not the seed's"):
            await planned(engine, file)


async def test_a_copy_that_was_overwritten_by_another_backup_is_noticed(tmp_path: Path) -> None:
    machine, file = await installed(tmp_path)
    async with machine.engine() as engine:
        second = await back_up(engine)
        file.write_bytes(second.read_bytes())
        with pytest.raises(CommandRefusedError, match=r"renamed\?|no backup"):
            await engine.plan_restore(RestoreRequest("shelf", _id(file)), PASSWORD)


def _id(file: Path) -> str:
    return file.name.removesuffix(".bursar").split("-", 3)[3]


async def test_backups_at_a_place_say_when_they_were_last_proven_here(tmp_path: Path) -> None:
    machine, file = await installed(tmp_path)
    async with machine.engine() as engine:
        await engine.execute(DrillBackup())
        state = (await engine.state()).backups
        assert state is not None
        for source in ("shelf", str(file.parent), str(file)):
            [found] = await engine.backups_at(source)
            assert found.verified_ms == state.last_verified_ms > 0
            assert found.drilled_ms == state.last_drilled_ms > 0
    async with Machine(tmp_path / "fresh").engine() as engine:  # which has proven none
        [found] = await engine.backups_at(str(file.parent))
        assert (found.verified_ms, found.drilled_ms) == (0, 0)


async def test_older_backups_say_that_there_are_newer_ones(tmp_path: Path) -> None:
    machine, file = await installed(tmp_path)
    async with machine.engine() as engine:
        second = await back_up(engine)
        plan = await planned(engine, file)
        assert plan.newer == (second.name,)
        assert any("newer backup" in warning for warning in plan.warnings)
        assert not [w for w in plan.warnings if "seed" in w]  # the password opened it


async def test_leftovers_of_a_restore_that_died_are_removed_at_the_start(tmp_path: Path) -> None:
    machine, _ = await installed(tmp_path)
    for name in ("restore-abc", "gen-0002-deadbeef"):
        (machine.data / name).mkdir(mode=0o700)
        (machine.data / name / "bursar.db").write_bytes(b"half")
    async with machine.engine():
        pass
    assert sorted(p.name for p in machine.data.glob("gen-*")) == ["gen-0001"]
    assert not list(machine.data.glob("restore-*"))


async def test_a_generation_that_cannot_be_opened_gives_way_to_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, _ = await installed(tmp_path)
    async with machine.engine() as engine:
        plan = await planned(engine, "shelf")
        adopt = engine.directory.adopt

        def spoil(staged: Path, name: str) -> None:
            adopt(staged, name)
            database = engine.directory.path / name / "bursar.db"
            database.write_bytes(b"not a database at all" * 10)

        monkeypatch.setattr(engine.directory, "adopt", spoil)
        with pytest.raises(CommandRefusedError, match="The old one is in use again"):
            await engine.apply_restore(plan.id, "node")
        assert len((await engine.state()).agents) == 6
        assert engine.directory.generation().name == "gen-0001"
        with pytest.raises(CommandRefusedError, match="plan is gone"):  # its files were moved
            await engine.planned_restore(plan.id)


async def test_events_go_on_counting_and_tell_of_the_restore(tmp_path: Path) -> None:
    machine, _ = await installed(tmp_path)
    async with machine.engine() as engine:
        before = (await engine.state()).seq
        plan = await planned(engine, "shelf")
        result = await engine.apply_restore(plan.id, "node")
        told = await engine.events(EventQuery(types=("RESTORE_COMPLETED",)))
        assert [record.payload["generation"] for record in told] == [result.generation]
        assert told[0].seq > before


async def test_settings_that_cannot_work_on_a_fresh_machine_stop_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, file = await installed(tmp_path)
    monkeypatch.delenv("BASE_KEY")
    fresh = Machine(tmp_path / "fresh")
    async with fresh.engine() as engine:
        with pytest.raises(CommandRefusedError, match="BASE_KEY"):
            await planned(engine, file)
    assert not fresh.config.exists()


async def test_a_drill_restores_the_newest_chain_and_proves_the_seed_with_a_password(
    tmp_path: Path,
) -> None:
    machine, _ = await installed(tmp_path)
    async with machine.engine() as engine:
        told = await engine.drill("", Secret(""))
        assert "20 addresses derived again and equal, 1 watch-only" in told.message
        assert "the seed was not opened: no password was given" in told.message
        told = await engine.drill("", PASSWORD)
        assert told.message.endswith("the seed opens.")
        state = await engine.state()
        assert state.backups is not None
        assert state.backups.last_drilled_ms > 0
        assert not list(machine.data.glob("restore-*"))


async def test_a_drill_that_fails_is_told(tmp_path: Path) -> None:
    machine, file = await installed(tmp_path)
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    async with machine.engine() as engine:
        with pytest.raises(CommandRefusedError):
            await engine.drill("", PASSWORD)
        [failed] = await engine.events(EventQuery(types=("BACKUP_FAILED",)))
        assert failed.payload["operation"] == "drill"


async def test_an_engine_that_polls_starts_again_in_the_same_process(tmp_path: Path) -> None:
    machine, _ = await installed(tmp_path)
    async with machine.engine(EngineMode.FULL) as engine:
        before = await engine.state()
        plan = await planned(engine, "shelf")
        stream = engine.updates(before.version, before.seq)
        await anext(stream)
        await engine.apply_restore(plan.id, "node")
        async for _ in stream:
            pass  # it ends: what comes now is another stream
        after = await engine.state()
        assert after.instance != before.instance
        assert after.backups is not None
        assert after.backups.held


async def test_a_client_gets_the_answer_and_finds_the_engine_again(tmp_path: Path) -> None:
    machine, _ = await installed(tmp_path)
    async with machine.engine(EngineMode.FULL) as engine:
        failed = asyncio.create_task(engine.wait_failed())
        client = EngineClient(engine.directory.socket)
        try:
            before = await client.state()
            plan = await client.plan_restore(RestoreRequest("shelf"), PASSWORD)
            assert await client.planned_restore(plan.id) == plan

            async def follow() -> None:
                with contextlib.suppress(EngineLostError):
                    async for _ in client.updates(before.version, before.seq):
                        pass

            following = asyncio.create_task(follow())
            result = await client.apply_restore(plan.id, "node")
            assert result.generation.startswith("gen-0002")
            await asyncio.wait_for(following, 20)  # the stream of the old state has ended
            after = await client.state()
            assert after.instance != before.instance
            assert isinstance(await anext(client.updates(0, after.seq)), StatePatch)
            assert not failed.done()  # whoever serves goes on
        finally:
            await client.close()
            failed.cancel()
            await asyncio.gather(failed, return_exceptions=True)
