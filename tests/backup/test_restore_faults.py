"""What goes wrong around a restore: a lost network, a byte changed on the way, a full disk.

Each time the old state is whole and in use, nothing is left over, and the next attempt succeeds.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from core.api import CommandRefusedError, CreateWallets
from core.backup.records import AnyRecord, LedgerCheckpoint, Setting
from tests.backup.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.backup.generations import records_of
from tests.backup.machines import Machine, back_up, planned

ROOT = Path(__file__).parents[2]
CLOUD = """
[[backup.destination]]
name = "cloud"
url = "s3://{bucket}/first"
endpoint = "http://127.0.0.1:{port}"
"""


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BASE_KEY", "s3cr3t")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture(scope="module")
def moto() -> Iterator[int]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
async def cloud(moto: int, tmp_path: Path) -> AsyncIterator[tuple[FaultyProxy, Machine]]:
    """A machine whose backup is on its shelf and in a bucket, and what stands before the bucket."""
    bucket = f"b{os.getpid()}-{abs(hash(str(tmp_path)))}"[:60]
    reader, writer = await asyncio.open_connection("127.0.0.1", moto)
    writer.write(
        f"PUT /{bucket} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    assert b"200" in (await reader.read()).split(b"\r\n")[0]
    writer.close()
    async with faulty_proxy(moto) as (proxy, port):
        machine = Machine(tmp_path / "first")
        await machine.install(tmp_path / "shelf")
        with machine.config.open("a") as file:
            file.write(CLOUD.format(bucket=bucket, port=port))
        async with machine.engine() as engine:
            await back_up(engine)
            await engine.execute(CreateWallets(count=1, prefix="late"))
        yield proxy, machine


def facts(machine: Machine) -> list[AnyRecord]:
    generation = machine.data / (machine.data / "CURRENT").read_text().strip()
    kept = records_of(generation, machine.settings())
    return [r for r in kept if not isinstance(r, LedgerCheckpoint | Setting)]


async def test_a_network_that_is_lost_while_fetching_changes_nothing(
    cloud: tuple[FaultyProxy, Machine],
) -> None:
    proxy, machine = cloud
    before = facts(machine)
    async with machine.engine() as engine:
        proxy.faults = [Fault("GET", ".bursar", "reset")] * 40
        with pytest.raises(CommandRefusedError, match="cloud: cannot read"):
            await planned(engine, "cloud")
        assert facts(machine) == before
        assert not list(machine.data.glob("restore-*"))
        proxy.faults = [Fault("GET", ".bursar", "unavailable")]  # once: it is tried again
        plan = await planned(engine, "cloud")
        await engine.apply_restore(plan.id, "node")
    assert facts(machine) != before


async def test_bytes_that_change_on_the_way_are_noticed_and_nothing_is_done(
    cloud: tuple[FaultyProxy, Machine],
) -> None:
    proxy, machine = cloud
    before = facts(machine)
    async with machine.engine() as engine:
        name = (await engine.backups_at("cloud"))[0].name
        proxy.faults = [Fault("GET", name, "flip response")] * 8
        with pytest.raises(CommandRefusedError):
            await planned(engine, "cloud")
        assert len(proxy.faults) < 8
        assert facts(machine) == before
        proxy.faults = []
        plan = await planned(engine, "cloud")
        assert plan.wallets == 21


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here")
@pytest.mark.parametrize("call", ["pwrite64", "write", "fsync", "rename", "ftruncate"])
async def test_a_full_disk_leaves_the_old_state_in_use(tmp_path: Path, call: str) -> None:
    machine = Machine(tmp_path / "first")
    await machine.install(tmp_path / "shelf")
    async with machine.engine() as engine:
        await back_up(engine)
        await engine.execute(CreateWallets(count=1, prefix="late"))
    before = facts(machine)
    kept = tmp_path / "kept"
    shutil.copytree(machine.home, kept)
    refused = 0
    for share in (0, 20, 60, 150):
        shutil.rmtree(machine.home)
        shutil.copytree(kept, machine.home)
        error = "EIO" if call in {"fsync", "rename"} else "ENOSPC"
        inject = f"inject={call}:error={error}:when={share + 1}+"
        done = await asyncio.to_thread(
            subprocess.run,
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", inject, sys.executable, "-m",
             "tests.crash.restoring_child", str(machine.home), "shelf", "node"],
            cwd=ROOT,
            env=os.environ | machine.environ,
            capture_output=True,
            text=True,
            timeout=120,
        )  # fmt: skip
        if "applied" not in done.stdout:
            refused += 1
            assert facts(machine) == before, f"{call} from {share} on: {done.stderr}"
    assert refused > 0
    async with machine.engine() as engine:
        backup = (await engine.backups_at("shelf"))[-1]
        plan = await planned(engine, tmp_path / "shelf" / backup.name)
        await engine.apply_restore(plan.id, "node")
    assert facts(machine) != before
