"""The demo makes real backups of its simulated fleet, which its published password opens."""

from __future__ import annotations

import stat
from pathlib import Path

from core.api import CreateBackup, RestoreRequest
from core.backup.keyring import FILE_NAME
from core.demo.cast import PASSWORD
from core.demo.setup import host_demo
from core.model import Secret


async def test_a_backup_of_the_demo_can_be_restored_with_its_password(tmp_path: Path) -> None:
    running, api = await host_demo(tmp_path, agents=5, seed=3)
    try:
        await api.execute(CreateBackup("full"))
        state = await api.state()
        assert state.backups is not None
        assert state.backups.off == ""
        newest = state.backups.backups[0]
        assert newest.wallets == 15
        plan = await api.plan_restore(
            RestoreRequest(state.backups.destinations[0].name, newest.id), Secret(PASSWORD)
        )
        assert plan.wallets == 15
        assert plan.confirm == state.node_id
        await api.discard_restore(plan.id)
    finally:
        await api.close()
        await running.stop()
    assert stat.S_IMODE((tmp_path / "data" / FILE_NAME).stat().st_mode) == 0o600
