"""The demo's servers live and die with whoever started them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from core.clock import SystemClock
from core.demo.process import DemoError, start_demo

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-P", "-m", "core.demo", "--seed=3", "--agents=20"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone_within(pid: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not alive(pid):
            return True
        time.sleep(0.02)
    return False


def spawn(*more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )


async def test_every_endpoint_listens_and_the_world_here_is_the_world_there() -> None:
    now_ms = time.time_ns() // 1_000_000
    demo = await start_demo(3, 20, start_ms=now_ms)
    try:
        assert {chain: len(urls) for chain, urls in demo.urls.items()} == {
            "base": 3,
            "xrpl": 2,
            "tron": 2,
        }
        world = demo.world(SystemClock())
        base = world.chain("base")
        address = world.agents[0].addresses["base"]
        block = base.head()
        params = [address, {"blockHash": block.hash, "requireCanonical": True}]
        body = {"jsonrpc": "2.0", "id": 1, "method": "eth_getBalance", "params": params}
        async with httpx.AsyncClient() as client:
            reply = (await client.post(demo.urls["base"][0], json=body)).json()
        assert int(reply["result"], 16) == base.balance(address, None, block.number)
    finally:
        await demo.stop()
    assert not alive(demo.pid)


async def test_stopping_twice_or_after_the_child_died_is_harmless() -> None:
    demo = await start_demo(1, 5, start_ms=0)
    os.kill(demo.pid, signal.SIGKILL)
    assert await asyncio.to_thread(gone_within, demo.pid, 3)
    await demo.stop()
    await demo.stop()


def test_it_prints_one_line_and_ends_quietly_when_its_input_closes() -> None:
    child = spawn()
    assert child.stdout is not None
    line = child.stdout.readline()
    assert set(json.loads(line)["urls"]) == {"base", "xrpl", "tron"}
    out, err = child.communicate(timeout=60)  # closes its input
    assert (child.returncode, out, err) == (0, b"", b"")


def test_it_ends_quietly_on_sigterm() -> None:
    child = spawn()
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) == 0
    out, err = child.communicate()
    assert (out, err) == (b"", b"")


def test_it_ends_by_itself_after_its_minutes() -> None:
    child = spawn("--minutes=0.005")
    assert child.wait(timeout=60) == 0
    child.communicate()


def test_it_dies_when_its_parent_is_killed_outright() -> None:
    script = (
        "import asyncio\n"
        "from core.demo.process import start_demo\n"
        "async def main():\n"
        "    demo = await start_demo(1, 5, start_ms=0)\n"
        "    print(demo.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=ENVIRONMENT, cwd="/"
    )
    assert parent.stdout is not None
    try:
        child = int(parent.stdout.readline())
        assert alive(child)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert gone_within(child, 5)


async def test_a_child_that_cannot_start_is_reported_with_its_reason() -> None:
    with pytest.raises(DemoError, match="--agents must be 1 or more"):
        await start_demo(1, 0, start_ms=0)


async def test_a_folder_named_core_in_the_working_directory_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "__init__.py").write_text("raise RuntimeError('not ours')")
    monkeypatch.chdir(tmp_path)
    demo = await start_demo(1, 5, start_ms=0)
    await demo.stop()


def test_the_servers_load_no_chain_library_and_no_screen() -> None:
    script = (
        "import sys\n"
        "from core.demo import evm_node, process, rippled, tron_node\n"
        "print([m for m in ('web3', 'xrpl', 'textual', 'rich', 'eth_abi') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, env=ENVIRONMENT, check=True
    )
    assert done.stdout.strip() == b"[]"
