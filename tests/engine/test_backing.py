"""Backups through the engine: made, delivered, scheduled, rebuilt, and never in its way."""

from __future__ import annotations

from pathlib import Path

from core.api import (
    CreateBackup,
    VerifyBackup,
)
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
        [job] = [job for job in (await engine.state()).backups.jobs if job.kind == "verify"]
        assert (job.error, job.ended_ms > 0, job.message) == ("", True, proven.message)
