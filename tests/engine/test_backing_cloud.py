"""Backups through the engine to an object store (moto) behind a proxy that makes things go wrong,
with secrets planted that must appear nowhere."""

from __future__ import annotations

import asyncio
import logging
import secrets
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from core.api import (
    BackupsView,
    CommandRefusedError,
    CreateBackup,
    DrillBackup,
    RekeyBackups,
    RunDueBackups,
    VerifyBackup,
)
from core.config import Settings
from core.engine import Engine, EngineMode
from core.model import BursarError, Secret
from core.service.client import EngineClient
from core.wallets.seed import Seed
from tests.backup.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.clock import TestClock
from tests.engine.backed_up import events, import_agents, running, settings_of, with_key
from tests.wallets.vectors import JUNK

ACCESS_KEY = "canary-secret-access-key"


@pytest.fixture(scope="module")
def moto() -> Iterator[int]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ACCESS_KEY)


@asynccontextmanager
async def cloud(
    moto: int, folder: Path, more: str = ""
) -> AsyncIterator[tuple[FaultyProxy, Settings]]:
    """A new bucket behind the proxy, and settings that name it beside the local directory."""
    bucket = f"b{secrets.token_hex(8)}"
    async with faulty_proxy(moto) as (proxy, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", moto)
        head = f"PUT /{bucket} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        assert b"200" in (await reader.read()).split(b"\r\n")[0]
        writer.close()
        place = (
            '[[backup.destination]]\nname = "local"\n[[backup.destination]]\nname = "offsite"\n'
            f'url = "s3://{bucket}/install-1"\nendpoint = "http://127.0.0.1:{port}"\n{more}'
        )
        yield proxy, settings_of(folder, place)


async def view_of(engine: Engine) -> BackupsView:
    view = (await engine.state()).backups
    assert view is not None
    return view


async def test_faults_on_the_way_are_retried_and_what_is_stored_is_what_was_sealed(
    moto: int, tmp_path: Path
) -> None:
    async with cloud(moto, tmp_path) as (proxy, settings):
        with_key(settings)
        async with running(settings) as engine:
            await import_agents(engine, ["alpha"])
            proxy.faults = [
                Fault("PUT", ".bursar", "unavailable"),
                Fault("PUT", ".bursar", "reset"),
                Fault("PUT", ".bursar", "flip request"),
                Fault("GET", ".bursar", "reset"),
            ]
            done = await engine.execute(CreateBackup())
            assert (done.details, proxy.faults) == ((), [])
            [backup] = (await view_of(engine)).backups
            assert {c.destination: c.state for c in backup.copies} == {
                "local": "stored and read back",
                "offsite": "stored and read back",
            }
            proven = await engine.execute(VerifyBackup())
            assert "2 copies of 1 archive" in proven.message
            [there] = await engine.backups_at("offsite")
            assert (there.id, there.wallets) == (backup.id, 1)


async def test_one_destination_that_refuses_is_partial_told_and_sent_later(
    moto: int, tmp_path: Path
) -> None:
    clock = TestClock()
    async with cloud(moto, tmp_path) as (proxy, settings):
        with_key(settings)
        proxy.forbid = lambda method: method == "PUT"
        async with running(settings, clock=clock) as engine:
            await import_agents(engine, ["alpha"])
            partial = await engine.execute(CreateBackup())
            assert len(partial.details) == 1
            assert partial.details[0].startswith("offsite: cannot store")
            [created] = await events(engine, "BACKUP_CREATED")
            assert created.payload["destinations"] == ["local"]
            assert created.payload["missing"] == ["offsite"]
            assert (await view_of(engine)).destinations[1].error == partial.details[0]
        proxy.forbid = lambda method: False
        await clock.advance(61)
        async with running(settings, clock=clock) as engine:  # another process, later
            sent = await engine.execute(RunDueBackups())
            assert sent.details == ()
            assert "at local, offsite" in sent.message
            assert len(await events(engine, "BACKUP_CREATED")) == 1
            assert [found.id for found in await engine.backups_at("offsite")] == [
                (await view_of(engine)).backups[0].id
            ]


async def test_a_byte_that_flips_while_a_copy_is_verified_is_named_and_never_silent(
    moto: int, tmp_path: Path
) -> None:
    async with cloud(moto, tmp_path) as (proxy, settings):
        with_key(settings)
        async with running(settings) as engine:
            await engine.execute(CreateBackup())
            proxy.faults = [Fault("GET", ".bursar", "flip response")]
            proven = await engine.execute(VerifyBackup())
            assert "1 copy of 1 archive" in proven.message
            [problem] = proven.details
            assert problem.startswith("offsite: Backup checksum validation failed")


async def test_a_credential_that_may_only_write_is_said_to_be_unread(
    moto: int, tmp_path: Path
) -> None:
    async with cloud(moto, tmp_path, "write_only = true\n") as (proxy, settings):
        with_key(settings)
        proxy.forbid = lambda method: method != "PUT"
        async with running(settings) as engine:
            done = await engine.execute(CreateBackup())
            assert done.details == ()
            [backup] = (await view_of(engine)).backups
            assert backup.copies[1].state == "uploaded, not read back"
            proven = await engine.execute(VerifyBackup())
            assert ["was not read" in line for line in proven.details] == [True]
            assert (await engine.execute(DrillBackup())).changed == 0  # from the local copy


async def test_seed_password_and_keys_appear_nowhere(
    moto: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything is run, failures included, then every byte on disk and on the way is searched."""
    caplog.set_level(logging.DEBUG)
    password = f"{secrets.token_hex(8)} orbit lantern copper maple"
    changed = f"{secrets.token_hex(8)} violin thunder basil anchor"
    words = Secret(JUNK)
    seed = Seed.from_words(words)
    told: list[str] = []
    async with cloud(moto, tmp_path) as (proxy, settings):
        async with running(settings) as engine:
            await engine.walleting.vault.create(seed, Secret(password))
        async with running(settings, EngineMode.FULL) as engine:
            client = EngineClient(settings.data_path / "engine.sock")
            wrong = Secret(f"{password} not")
            for attempt in (
                client.set_up_backups(wrong, Secret("")),
                client.set_up_backups(Secret(password), Secret("not a recovery key")),
            ):
                with pytest.raises(CommandRefusedError) as caught:
                    await attempt
                told += traceback.format_exception(caught.value)
            told.append(repr(await client.set_up_backups(Secret(password), Secret(""))))
            told.append(repr(await client.execute(CreateBackup("full"))))
            await import_agents(engine, ["alpha"])
            told.append(repr(await client.execute(CreateBackup("incremental"))))
            told.append(repr(await client.execute(VerifyBackup())))
            told.append(repr(await client.drill("", Secret(password))))
            with pytest.raises(BursarError) as caught_drill:
                await client.drill("", Secret(f"{password} not"))
            told += traceback.format_exception(caught_drill.value)
            told.append(
                repr(await client.change_password(Secret(password), Secret(changed), Secret("")))
            )
            told.append(repr(await client.execute(RekeyBackups())))
            proxy.forbid = lambda method: method == "PUT"
            told.append(repr(await client.execute(CreateBackup())))
            told += [repr(await engine.state()), repr(await events(engine))]
            await client.close()
        sent = b"".join(raw for _, _, raw in proxy.requests)
    ring = (settings.data_path / "backup-key.json").read_text()
    key = ring.partition('"backupKey": "')[2][:64]
    assert len(bytes.fromhex(key)) == 32
    told.append(caplog.text)
    files = {path: path.read_bytes() for path in settings.data_path.rglob("*") if path.is_file()}
    assert any(path.name == "bursar.log" for path in files)
    assert any(path.suffix == ".bursar" for path in files)
    canaries = [
        password, changed, password[:16], changed[:16], JUNK, ACCESS_KEY, key,
        seed.entropy.reveal().hex(),
    ]  # fmt: skip
    raw_canaries = [*(c.encode() for c in canaries), seed.entropy.reveal(), bytes.fromhex(key)]
    for canary in raw_canaries:
        for path, content in files.items():
            if path.name != "backup-key.json":  # the one file that holds the key
                assert canary not in content, path
        assert canary not in sent
        assert canary not in "\n".join(told).encode()
