"""Backups through the engine: made, delivered, scheduled, rebuilt, and never in its way."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.api import (
    CommandRefusedError,
    CreateBackup,
    DrillBackup,
    VerifyBackup,
)
from core.model import BursarError, Secret
from tests.backup.installation import PASSWORD
from tests.engine.backed_up import events, import_agents, running, settings_of, with_key


async def test_a_full_and_an_incremental_are_made_stored_proven_and_told(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with_key(settings)
    async with running(settings) as engine:
        await import_agents(engine, ["alpha", "beta"])
        full = await engine.execute(CreateBackup("full"))
        await import_agents(engine, ["gamma"])
        await engine.execute(CreateBackup("incremental"))
        assert "2 wallets" in full.message
        assert full.details == ()
        view = (await engine.state()).backups
        assert view is not None
        assert (view.off, view.trouble, view.slots) == ("", "", ("password",))
        child, parent = view.backups
        assert (child.type, child.wallets, child.chain, child.parent) == (
            "incremental", 3, 2, parent.id,
        )  # fmt: skip
        assert {copy.state for b in view.backups for copy in b.copies} == {"stored and read back"}
        assert all(backup.verified_ms and backup.durable_ms for backup in view.backups)
        stored = tmp_path / "data" / "backups"
        assert {parent.name, child.name} < {path.name for path in stored.iterdir()}
        created = await events(engine, "BACKUP_CREATED")
        assert [event.payload["backupId"] for event in created] == [parent.id, child.id]
        assert created[1].payload["destinations"] == ["local"]
        assert created[1].as_json()["type"] == "BACKUP_CREATED"
        proven = await engine.execute(VerifyBackup())
        assert "2 copies of 2 archives decrypted" in proven.message
        after = (await engine.state()).backups
        assert after is not None
        [job] = [job for job in after.jobs if job.kind == "verify"]
        assert (job.error, job.ended_ms > 0, job.message) == ("", True, proven.message)


async def test_a_drill_restores_the_newest_chain_and_is_remembered(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    with_key(settings)
    async with running(settings) as engine:
        await import_agents(engine, ["alpha", "beta"])
        await engine.execute(CreateBackup("full"))
        done = await engine.execute(DrillBackup())
        assert "2 wallets from 1 archive" in done.message
        with_password = await engine.drill("", Secret(PASSWORD))
        assert "2 wallets" in with_password.message
        with pytest.raises(CommandRefusedError, match="password is wrong"):
            await engine.drill("", Secret("another password altogether"))
        view = (await engine.state()).backups
        assert view is not None
        assert view.last_drilled_ms > 0
        assert view.trouble == ""
        _spoil(settings.data_path / "backups" / view.backups[0].name)
        with pytest.raises(BursarError, match="checksum validation failed"):
            await engine.execute(DrillBackup())
        view = (await engine.state()).backups
        assert view is not None
        assert "The last drill failed" in view.trouble
        [failed] = await events(engine, "BACKUP_FAILED")
        assert failed.payload["operation"] == "drill"
    assert not (settings.data_path / "backup-state" / "drill").exists()


def _spoil(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
