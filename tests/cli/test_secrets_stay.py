"""A planted seed, password and recovery key: set up, used, mistyped, crashed; then everything that
was printed, answered or written is searched for them."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from core.model import Secret
from core.wallets.secrets import RecoveryKey
from core.wallets.seed import Seed
from tests.cli.shell import Home, base_config
from tests.cli.test_engine_process import serving
from tests.cli.test_init import piped
from tests.wallets.vectors import ABANDON

SEED = Seed.generate(24)
WORDS = SEED.words().reveal()
PASSWORD = "canary-password-zebra-quilt-ninety"
MISTYPED = "canary-mistyped-zebra-quilt-ninety"
ROOT = Path(__file__).parents[2]

CRASHING = """
import core.wallets.vault

def out_of_order(*args, **kwargs):
    raise RuntimeError("out of order")

core.wallets.vault.seal = out_of_order
from tui.cli import main
main()
"""


def planted(recovery: str) -> dict[str, list[bytes]]:
    raw = RecoveryKey.parse(Secret(recovery)).reveal()
    entropy = SEED.entropy.reveal()
    return {
        "words": [WORDS.encode(), " ".join(WORDS.split()[:3]).encode()],
        "entropy": [entropy, entropy.hex().encode()],
        "master key": [SEED.master().key.reveal(), SEED.master().key.reveal().hex().encode()],
        "password": [b"canary-password"],
        "mistyped password": [b"canary-mistyped"],
        "recovery key": [recovery.encode(), raw, raw.hex().encode()],
    }


def found_in(content: bytes, recovery: str) -> list[str]:
    return [name for name, forms in planted(recovery).items() if any(f in content for f in forms)]


async def answers_of(home: Home) -> bytes:
    """What the running engine says on its socket to whoever may ask."""
    import httpx

    transport = httpx.AsyncHTTPTransport(uds=str(home.data / "engine.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as client:
        paths = ("/health", "/v1/state", "/v1/events?limit=10000", "/v1/wallets", "/v1/backups")
        answers = [await client.get(path) for path in paths]
        body = {"secret": WORDS.rpartition(" ")[0]}
        answers.append(await client.post("/v1/seed/verify", json=body))
        answers.append(await client.post("/v1/seed/verify", json={"secret": ABANDON}))
        answers.append(await client.post("/v1/seed/unlock", json={"secret": MISTYPED}))
        answers.append(await client.post("/v1/seed/unlock", content=f'{{"secret": "{MISTYPED}'))
        assert [a.status_code for a in answers] == [200, 200, 200, 200, 200, 409, 409, 409, 400]
    return b"\n".join(answer.content for answer in answers)


async def test_no_secret_is_printed_answered_logged_stored_or_told(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.path.mkdir()
    key = tmp_path / "recovery"
    spoken: list[str] = []

    async def say(text: str, *args: str) -> int:
        code, out, err = await piped(home, text, *args)
        spoken.extend((out, err))
        return code

    both = f"{WORDS}\n{PASSWORD}\n"
    init = ("--config", "bursar.toml", "init", "--data-dir", str(home.data), "--import")
    assert await say(f"{WORDS}\n{PASSWORD[:15]}\n", *init) == 1
    assert await say(both, *init, "--recovery-key-file", str(key)) == 0
    recovery = key.read_text().strip()
    text = home.config.read_text() + base_config("http://127.0.0.1:9")
    home.config.write_text(text + '[log]\nlevel = "debug"\n')
    engine = await serving(home)
    try:
        assert await say("", "wallets", "create", "3", "--json") == 0
        assert await say(f"{WORDS}\n", "seed", "verify") == 0
        assert await say(f"{WORDS} {WORDS}\n", "seed", "verify") == 1
        assert await say(f"{recovery}\n", "seed", "unlock") == 0
        assert await say(f"{MISTYPED}\n", "seed", "unlock") == 1
        answered = await answers_of(home)
        assert await say("", "backup", "create") == 0
        assert await say("", "export", "events") == 0
        assert await say("", "doctor", "--json") == 1  # there is no endpoint
        assert await say(both, "seed", "create", "--import") == 1  # an engine runs
        engine.send_signal(signal.SIGABRT)  # as a defect in native code ends it
    finally:
        out, err = await engine.communicate()
    spoken += [out.decode(), err.decode()]
    for args in (("seed", "status"), ("wallets", "list"), ("audit", "verify")):
        assert await say("", *args) == 0
    assert await say(f"{PASSWORD}\n", "seed", "unlock") == 0
    assert found_in(answered, recovery) == []
    assert found_in("\n".join(spoken).encode(), recovery) == []
    files = [path for path in home.path.rglob("*") if path.is_file()]
    assert {"bursar.log", "events.jsonl", "audit.jsonl", "bursar.db"} <= {f.name for f in files}
    assert any(path.suffix == ".bursar" for path in files)
    for path in files:
        assert found_in(path.read_bytes(), recovery) == [], path
        assert not path.name.startswith("core"), path
    assert found_in(WORDS.encode() + MISTYPED.encode(), recovery) == ["words", "mistyped password"]


async def test_a_defect_in_the_middle_of_the_set_up_shows_no_secret(tmp_path: Path) -> None:
    home = Home(tmp_path)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CRASHING, "--config", "bursar.toml", "init", "--import",
        "--data-dir", str(home.data), "--recovery-key-file", "key",
        cwd=tmp_path,
        env=home.environment(PYTHONPATH=str(ROOT)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate(f"{WORDS}\n{PASSWORD}\n".encode())
    assert process.returncode == 1
    assert b"Traceback" in out
    assert b"out of order" in out
    assert found_in(out, RecoveryKey.generate().text().reveal()) == []
    assert not home.config.exists()
    assert not (tmp_path / "key").exists()  # a key that opens nothing is not kept
    assert not list(home.data.rglob("master-seed.enc"))
    assert not list(home.data.rglob("backup-key.json"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_process_that_may_hold_secrets_leaves_no_core_and_is_not_looked_into(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path)
    home.write_config(base_config("http://127.0.0.1:9"))
    engine = await serving(home)
    try:
        limits = Path(f"/proc/{engine.pid}/limits").read_text()
        [core] = [line for line in limits.splitlines() if line.startswith("Max core file size")]
        assert core.split()[4:6] == ["0", "0"]
        status = Path(f"/proc/{engine.pid}/status").read_text()
        assert "Umask:\t0077" in status
    finally:
        engine.terminate()
        await engine.wait()
    asking = (
        "from tui.cli.hardening import harden; harden(); import ctypes;"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    )
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-c", asking, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert (await done.communicate())[0] == b"0\n"
