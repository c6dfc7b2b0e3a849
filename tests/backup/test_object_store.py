"""The object store, proven against moto's S3 server through a proxy that makes things go wrong."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from moto.server import ThreadedMotoServer

from core.backup.catalogue import Catalogue, CopyState, entry_of
from core.backup.delivery import Outcome, Require, deliver, outcome
from core.backup.destinations import Destination, LocalDirectory
from core.backup.errors import AlreadyStoredError, CorruptCopyError, DestinationError
from core.backup.files import sha256_of
from core.backup.object_store import ObjectStore
from core.backup.rebuild import rebuild
from core.backup.verify import RestoredChain
from tests.backup.faulty_proxy import Fault, FaultyProxy, faulty_proxy
from tests.backup.installation import KEY, PASSWORD, Workshop, installation
from tests.clock import TestClock

SECRET_ACCESS_KEY = "canary-secret-access-key"


@pytest.fixture(scope="module")
def moto() -> Iterator[int]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


class Cloud:
    """A new bucket behind the proxy."""

    def __init__(self, proxy: FaultyProxy, port: int, bucket: str) -> None:
        self.proxy = proxy
        self.endpoint = f"http://127.0.0.1:{port}"
        self.bucket = bucket

    def store(self, *, write_only: bool = False, patience: float = 5.0) -> ObjectStore:
        options = {
            "region": "us-east-1",
            "endpoint": self.endpoint,
            "access_key_id": "test",
            "secret_access_key": SECRET_ACCESS_KEY,
        }
        return ObjectStore(
            "cloud",
            f"s3://{self.bucket}/install-1",
            options,
            write_only=write_only,
            patience=timedelta(seconds=patience),
            allow_http=True,
        )


@pytest.fixture
async def cloud(moto: int, request: pytest.FixtureRequest) -> AsyncIterator[Cloud]:
    async with faulty_proxy(moto) as (proxy, port):
        bucket = f"b{abs(hash(request.node.name))}"
        reader, writer = await asyncio.open_connection("127.0.0.1", moto)
        writer.write(
            f"PUT /{bucket} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        assert b"200" in (await reader.read()).split(b"\r\n")[0]
        writer.close()
        yield Cloud(proxy, port, bucket)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(random.Random(1).randbytes(100_000))
    return path


async def test_an_archive_is_stored_once_read_back_listed_and_fetched(
    cloud: Cloud, source: Path, tmp_path: Path
) -> None:
    store = cloud.store()
    sha256 = sha256_of(source)
    assert await store.put(source, "one", sha256) is CopyState.STORED
    assert await store.put(source, "one", sha256) is CopyState.STORED
    other = tmp_path / "other"
    other.write_bytes(b"other")
    with pytest.raises(AlreadyStoredError, match="left alone"):
        await store.put(other, "one", sha256_of(other))
    assert [(found.name, found.size) for found in await store.list()] == [("one", 100_000)]
    await store.fetch("one", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert (tmp_path / "back").stat().st_mode & 0o777 == 0o600
    assert await store.read_start("one", 10) == source.read_bytes()[:10]
    put = next(raw for method, path, raw in cloud.proxy.requests if method == "PUT")
    head = put.split(b"\r\n\r\n")[0].lower()
    assert f"x-amz-meta-sha256: {sha256}".encode() in head
    assert b"x-amz-checksum-sha256:" in head
    assert b"if-none-match: *" in head
    await store.delete("one")
    await store.delete("one")
    assert await store.list() == []


async def test_a_large_archive_goes_in_parts_and_is_still_created_once(
    cloud: Cloud, tmp_path: Path
) -> None:
    source = tmp_path / "large"
    source.write_bytes(random.Random(2).randbytes(33 * 1024 * 1024))
    store = cloud.store()
    assert await store.put(source, "large", sha256_of(source)) is CopyState.STORED
    assert any("uploadId" in path for _, path, _ in cloud.proxy.requests)
    with source.open("ab") as file:
        file.write(b"more")
    with pytest.raises(AlreadyStoredError):
        await store.put(source, "large", sha256_of(source))


@pytest.mark.parametrize("what", ["unavailable", "reset"])
@pytest.mark.parametrize("method", ["PUT", "GET"])
async def test_503_and_resets_are_retried(
    cloud: Cloud, source: Path, what: str, method: str
) -> None:
    cloud.proxy.faults = [Fault(method, "one", what)] * 2
    assert await cloud.store().put(source, "one", sha256_of(source)) is CopyState.STORED
    assert cloud.proxy.faults == []


async def test_an_upload_that_was_done_but_whose_answer_was_lost_is_a_success(
    cloud: Cloud, source: Path
) -> None:
    cloud.proxy.faults = [Fault("PUT", "one", "reset after")]
    assert await cloud.store().put(source, "one", sha256_of(source)) is CopyState.STORED
    assert cloud.proxy.faults == []


async def test_a_byte_flipped_on_the_way_up_is_noticed_and_mended(
    cloud: Cloud, source: Path, tmp_path: Path
) -> None:
    cloud.proxy.faults = [Fault("PUT", "one", "flip request")]
    store = cloud.store()
    assert await store.put(source, "one", sha256_of(source)) is CopyState.STORED
    assert cloud.proxy.faults == []
    await store.fetch("one", tmp_path / "back")
    assert sha256_of(tmp_path / "back") == sha256_of(source)


async def test_a_byte_flipped_on_the_way_back_is_noticed_and_read_again(
    cloud: Cloud, source: Path
) -> None:
    cloud.proxy.faults = [Fault("GET", "one", "flip response")]
    assert await cloud.store().put(source, "one", sha256_of(source)) is CopyState.STORED
    assert sum(method == "PUT" for method, _, _ in cloud.proxy.requests) == 1


async def test_bytes_that_flip_every_time_are_reported(cloud: Cloud, source: Path) -> None:
    cloud.proxy.faults = [Fault("PUT", "one", "flip request")] * 2
    with pytest.raises(CorruptCopyError, match="cloud: one read back twice differs"):
        await cloud.store().put(source, "one", sha256_of(source))


async def test_a_store_that_stays_away_is_reported_with_its_name(
    cloud: Cloud, source: Path
) -> None:
    cloud.proxy.faults = [Fault("PUT", "one", "unavailable")] * 50
    with pytest.raises(DestinationError, match="cloud: cannot store one") as caught:
        await cloud.store(patience=0.5).put(source, "one", sha256_of(source))
    assert SECRET_ACCESS_KEY not in str(caught.value)


async def test_a_credential_that_may_only_write_says_it_was_not_read_back(
    cloud: Cloud, source: Path
) -> None:
    cloud.proxy.forbid = lambda method: method != "PUT"
    store = cloud.store(write_only=True)
    assert await store.put(source, "one", sha256_of(source)) is CopyState.UPLOADED
    assert {method for method, _, _ in cloud.proxy.requests} == {"PUT"}
    with pytest.raises(DestinationError, match="cannot read back"):
        await cloud.store(patience=0.5).put(source, "two", sha256_of(source))


async def test_one_destination_that_fails_does_not_fail_the_other_and_is_tried_again(
    cloud: Cloud, tmp_path: Path
) -> None:
    (tmp_path / "spool").mkdir()
    workshop = Workshop(tmp_path / "spool")
    made = workshop.make(installation(), durable=False)
    clock = TestClock()
    saved = []

    async def save(entry: object) -> None:
        saved.append(entry)

    places: dict[str, Destination] = {
        "disk": LocalDirectory("disk", tmp_path / "disk"),
        "cloud": cloud.store(patience=0.3),
    }
    cloud.proxy.faults = [Fault("PUT", "wallet-backup", "unavailable")] * 50
    entry = entry_of(made.sealed, places)
    for require, expected in ((Require.ANY, Outcome.PARTIAL), (Require.ALL, Outcome.FAILED)):
        after = await deliver(entry, made.path, places, require, clock, save)
        assert outcome(after, require) is expected
        assert bool(after.durable_ms) == (require is Require.ANY)
    assert len(saved) == 4
    copy = after.copies["cloud"]
    assert "cloud: cannot store" in copy.error
    assert after.copies["disk"].state is CopyState.STORED
    assert Catalogue([after]).outbox(clock.now_ms()) == []
    await clock.advance(60)
    assert Catalogue([after]).outbox(clock.now_ms()) == [(after, "cloud")]
    cloud.proxy.faults = []
    done = await deliver(after, made.path, places, Require.ALL, clock, save)
    assert outcome(done, Require.ALL) is Outcome.COMPLETE
    assert done.copies["cloud"].attempts == 2
    assert done.copies["cloud"].error == ""


async def test_a_deleted_catalogue_is_rebuilt_from_the_bucket_and_the_chain_restored(
    cloud: Cloud, tmp_path: Path
) -> None:
    workshop = Workshop(tmp_path)
    clock, store = TestClock(), cloud.store()

    async def save(entry: object) -> None:
        pass

    for agents in (("alpha",), ("alpha", "beta"), ("beta", "gamma")):
        made = workshop.make(installation(agents))
        entry = entry_of(made.sealed, ["cloud"])
        await deliver(entry, made.path, {"cloud": store}, Require.ANY, clock, save)
    first = next(found for found in await store.list() if found.name.endswith(".json"))
    await store.delete(first.name)
    await store.put_note("wallet-backup-1-notes.txt", b"somebody's notes")
    found, problems = await rebuild(store, Catalogue(), clock.now_ms(), tmp_path)
    assert problems == []
    assert [entry.sidecar() for entry in found] == [entry.sidecar() for entry in workshop.catalogue]
    assert found.next_sequence() == 4
    files = []
    for entry in found.chain_of(made.sealed.header.id):
        files.append(tmp_path / f"fetched-{entry.id}")
        await store.fetch(entry.name, files[-1])
    with RestoredChain(files, KEY) as chain:
        assert list(chain.records()) == installation(("beta", "gamma"))


async def test_a_forged_sidecar_and_a_foreign_object_do_not_enter_the_catalogue(
    cloud: Cloud, tmp_path: Path
) -> None:
    workshop = Workshop(tmp_path)
    made = workshop.make(installation())
    store = cloud.store()
    name = made.path.name
    entry = entry_of(made.sealed)
    await store.put(made.path, name, entry.sha256)
    forged = msgspec.structs.replace(entry, wallet_count=9, sha256="00" * 32)
    await store.put_note(f"{name}.json", forged.sidecar())
    foreign = f"wallet-backup-5-{entry.id}.bursar"
    await store.put_note(foreign, b"BURSAR\x01 but nothing else")
    found, problems = await rebuild(store, Catalogue(), 1, tmp_path)
    assert [kept.sidecar() for kept in found] == [entry.sidecar()]
    assert len(problems) == 1
    assert foreign in problems[0]


async def test_neither_password_key_nor_a_record_reaches_the_bucket_in_the_clear(
    cloud: Cloud, tmp_path: Path
) -> None:
    workshop = Workshop(tmp_path)
    made = workshop.make(installation(("canary-agent",)))
    entry = entry_of(made.sealed, ["cloud"])

    async def save(entry: object) -> None:
        pass

    store = cloud.store()
    await deliver(entry, made.path, {"cloud": store}, Require.ANY, TestClock(), save)
    sent = b"".join(raw for _, _, raw in cloud.proxy.requests)
    assert b"BURSAR\x01" in sent
    for canary in (PASSWORD.encode(), KEY.reveal(), KEY.reveal().hex().encode(), b"canary-agent",
                   b"ciphertext of the seed", SECRET_ACCESS_KEY.encode(), b"0x0000"):  # fmt: skip
        assert canary not in sent


async def test_credentials_come_from_the_environment(
    cloud: Cloud, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id-of-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
    options = {"region": "us-east-1", "endpoint": cloud.endpoint, "sse_kms_key_id": "key-1",
               "server_side_encryption": "aws:kms"}  # fmt: skip
    store = ObjectStore("cloud", f"s3://{cloud.bucket}", options, allow_http=True)
    await store.put_note("one", b"note")
    (put,) = (raw.lower() for method, _, raw in cloud.proxy.requests if method == "PUT")
    assert b"credential=id-of-the-environment/" in put
    assert b"x-amz-server-side-encryption: aws:kms" in put


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", "s3, gs or az"),
        ("/var/backups", "s3, gs or az"),
        ("s3://key:secret@bucket/x", "credentials out of the URL"),
    ],
)
def test_urls_that_are_no_object_store_are_refused(url: str, message: str) -> None:
    with pytest.raises(DestinationError, match=message) as caught:
        ObjectStore("cloud", url)
    assert "secret" not in str(caught.value)


def test_an_option_that_no_store_knows_is_refused() -> None:
    with pytest.raises(DestinationError, match="cloud: cannot use its options"):
        ObjectStore("cloud", "s3://bucket", {"regoin": "us-east-1"})
