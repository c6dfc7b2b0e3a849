"""Events reach a webhook in order and at least once, whatever the receiver does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.events import Bus, ChainStateChanged
from core.model import Secret
from core.store.sqlite import SqliteStore
from core.telemetry.webhooks import (
    EventWebhook,
    SignedPost,
    WebhookFailed,
    backoff_s,
    open_client,
    signature,
)
from tests.clock import TestClock, until
from tests.settlement.receiver import Receiver

OK, BUSY = (204, ""), (503, "later")


class Outbox:
    def __init__(self, store: SqliteStore, receiver: Receiver) -> None:
        self.store = store
        self.receiver = receiver
        self.bus = Bus()
        self.clock = TestClock()

    async def tell(self, *names: str) -> None:
        records = await self.store.append(
            [
                ChainStateChanged(timestamp=1, chain=name, old_state="a", new_state="b", reason="")
                for name in names
            ]
        )
        self.bus.publish(records[-1].seq)

    @asynccontextmanager
    async def sending(self, *types: str, timeout_s: float = 30.0) -> AsyncIterator[EventWebhook]:
        async with open_client() as client:
            post = SignedPost(
                client, self.receiver.url, Secret("k"), self.clock, timeout_s=timeout_s
            )
            hook = EventWebhook(
                self.store, self.bus, self.clock, post, "ops", types=types, rng=lambda: 1.0
            )
            task = asyncio.create_task(hook.run())
            try:
                yield hook
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def got(self) -> list[str]:
        return [json.loads(body)["chain"] for _, body in self.receiver.requests]


@asynccontextmanager
async def outbox(tmp_path: Path, *script: tuple[int, str] | None) -> AsyncIterator[Outbox]:
    store = SqliteStore(tmp_path / "bursar.db", "node-a")
    await store.open()
    try:
        async with Receiver(*script).listening() as receiver:
            yield Outbox(store, receiver)
    finally:
        await store.close()


async def begun(box: Outbox) -> None:
    for _ in range(5_000):
        if await box.store.recall("webhook:ops") is not None:
            return
        await asyncio.sleep(0.001)
    raise AssertionError("the webhook did not begin")


async def test_events_arrive_in_order_signed_with_a_unique_id(tmp_path: Path) -> None:
    async with outbox(tmp_path, OK) as box:
        await box.tell("before")  # before there was a webhook
        async with box.sending():
            await begun(box)
            await box.tell("one", "two")
            await box.tell("three")
            await until(lambda: box.got() == ["one", "two", "three"])
        headers, body = box.receiver.requests[0]
        assert headers["Bursar-Event-Id"] == "node-a-2"
        assert json.loads(body) == {
            "type": "CHAIN_STATE_CHANGED",
            "nodeId": "node-a",
            "sequence": 2,
            "timestamp": "1970-01-01T00:00:00.001Z",
            "chain": "one",
            "oldState": "a",
            "newState": "b",
            "reason": "",
        }
        time_s = int(headers["Bursar-Signature"].split(",")[0].removeprefix("t="))
        assert headers["Bursar-Signature"] == signature(Secret("k"), time_s, body)


async def test_a_receiver_that_fails_gets_the_same_event_again_and_none_overtakes_it(
    tmp_path: Path,
) -> None:
    async with outbox(tmp_path, BUSY, None, BUSY, OK) as box, box.sending(timeout_s=1.0) as hook:
        await begun(box)
        await box.tell("one", "two")
        for failure, wait_s in enumerate((1, 2, 4), start=1):
            await until(lambda n=failure: f"(failure {n}," in hook.error)  # type: ignore[misc]
            await box.clock.advance(wait_s)
        await until(lambda: box.got() == ["one", "one", "one", "one", "two"])
        await until(lambda: hook.error == "")
        ids = {headers["Bursar-Event-Id"] for headers, _ in box.receiver.requests[:4]}
        assert len(ids) == 1


async def test_what_was_not_taken_before_a_restart_is_sent_after_it(tmp_path: Path) -> None:
    async with outbox(tmp_path, BUSY, OK) as box:
        async with box.sending() as hook:
            await begun(box)
            await box.tell("one")
            await until(lambda: "503" in hook.error)
        async with box.sending():
            await until(lambda: box.got() == ["one", "one"])
            await box.tell("two")
            await until(lambda: box.got()[2:] == ["two"])
        async with box.sending():
            await box.tell("three")
            await until(lambda: box.got()[-1] == "three")
        # At least once: the second start may have been ended between the answer and the cursor.
        assert box.got()[3:] in (["three"], ["two", "three"])


async def test_only_the_types_asked_for_are_sent(tmp_path: Path) -> None:
    async with outbox(tmp_path, OK) as box:
        async with box.sending("SETTLEMENT_REQUIRED"):
            await begun(box)
            await box.tell("one")
        async with box.sending("CHAIN_STATE_CHANGED"):
            await box.tell("two")
            await until(lambda: box.got()[-1:] == ["two"])


async def test_retry_after_is_honoured_beyond_the_back_off(tmp_path: Path) -> None:
    async with outbox(tmp_path, (429, ""), OK) as box, box.sending() as hook:
        await begun(box)
        box.receiver.headers = {"Retry-After": "120"}
        await box.tell("one")
        await until(lambda: "next try in 120 s" in hook.error)
        await box.clock.advance(119)
        assert len(box.receiver.requests) == 1
        await box.clock.advance(1)
        await until(lambda: len(box.receiver.requests) == 2)


@pytest.mark.parametrize(
    ("script", "words"),
    [((302, ""), "HTTP 302"), ((400, "no"), "HTTP 400"), ((200, "x" * 70_000), "more than 64 KiB")],
)
async def test_what_is_no_answer_is_a_failure_that_names_the_receiver(
    script: tuple[int, str], words: str
) -> None:
    async with Receiver(script).listening() as receiver, open_client() as client:
        secret = Secret("hunter2")
        post = SignedPost(client, f"{receiver.url}?token=abc", secret, TestClock())
        with pytest.raises(WebhookFailed, match=words) as caught:
            await post.send(b"{}", {})
        assert "127.0.0.1" in str(caught.value)
        assert "abc" not in str(caught.value)
        assert "hunter2" not in str(caught.value)


def test_the_back_off_doubles_to_an_hour_and_half_of_it_is_chance() -> None:
    assert [backoff_s(n, lambda: 1.0) for n in (0, 1, 2, 11, 12, 99)] == [1, 2, 4, 2048, 3600, 3600]
    assert backoff_s(3, lambda: 0.0) == 4.0
    assert all(4.0 <= backoff_s(3) <= 8.0 for _ in range(100))


def test_a_signature_can_be_checked_by_anybody_who_knows_the_secret() -> None:
    # echo -n '1700000000.{}' | openssl dgst -sha256 -hmac k
    assert signature(Secret("k"), 1_700_000_000, b"{}").startswith("t=1700000000,v1=")
    assert signature(Secret("k"), 1, b"{}") != signature(Secret("k"), 2, b"{}")
    assert signature(Secret("k"), 1, b"{}") != signature(Secret("j"), 1, b"{}")
