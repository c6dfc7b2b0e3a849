"""Alerts reach a webhook, signed, in order, over failures and restarts; other events do not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.alerts import event_webhook
from core.config import WebhookSettings
from core.events import ChainStateChanged
from core.model import Secret
from core.telemetry.webhooks import EventWebhook, open_client, signature
from tests.alerts.scenes import Watch, balance, watch
from tests.clock import START_MS, until
from tests.settlement.receiver import Receiver


@asynccontextmanager
async def sending(
    w: Watch, receiver: Receiver, events: str = "alerts"
) -> AsyncIterator[EventWebhook]:
    settings = WebhookSettings(url=receiver.url, secret_env="KEY", events=events)
    async with open_client() as client:
        hook = event_webhook(settings, w.store, w.bus, w.clock, client, {"KEY": "s3"})
        assert hook is not None
        task = asyncio.create_task(hook.run())
        try:
            while await w.store.recall("webhook:events") is None:
                assert not task.done()
                await asyncio.sleep(0.001)
            yield hook
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def types(receiver: Receiver) -> list[str]:
    return [json.loads(body)["type"] for _, body in receiver.requests]


async def tell_of_a_chain(w: Watch) -> None:
    event = ChainStateChanged(timestamp=1, chain="c", old_state="a", new_state="b", reason="")
    w.bus.publish((await w.store.append([event]))[-1].seq)


async def test_an_alert_and_what_becomes_of_it_arrive_signed(tmp_path: Path) -> None:
    async with (
        watch(tmp_path) as w,
        Receiver((503, "later"), (204, "")).listening() as receiver,
        sending(w, receiver),
    ):
        await w.keeper.observe([balance(10)])
        await until(lambda: len(receiver.requests) == 1)
        await w.clock.advance(2)  # the first try failed
        await until(lambda: len(receiver.requests) == 2)
        await tell_of_a_chain(w)
        await w.keeper.acknowledge(1, "ada", "mine")
        await w.keeper.silence(1, START_MS + 60_000, "noise")
        await w.keeper.observe([balance(500)])
        await until(lambda: len(receiver.requests) == 5)
    assert types(receiver) == [
        "ALERT_OPENED",
        "ALERT_OPENED",
        "ALERT_ACKNOWLEDGED",
        "ALERT_SILENCED",
        "ALERT_CLOSED",
    ]
    ids = [headers["Bursar-Event-Id"] for headers, _ in receiver.requests]
    assert ids == ["node-a-1", "node-a-1", "node-a-3", "node-a-4", "node-a-5"]
    headers, body = receiver.requests[-1]
    time_s = int(headers["Bursar-Signature"].split(",")[0].removeprefix("t="))
    assert headers["Bursar-Signature"] == signature(Secret("s3"), time_s, body)


async def test_an_alert_that_was_not_delivered_is_delivered_after_a_restart(
    tmp_path: Path,
) -> None:
    async with Receiver((204, "")).listening() as receiver:
        async with watch(tmp_path) as w, sending(w, receiver):
            pass
        async with watch(tmp_path) as w:
            await w.keeper.observe([balance(10)])
        async with watch(tmp_path) as w, sending(w, receiver):
            await until(lambda: types(receiver) == ["ALERT_OPENED"])


async def test_all_events_are_sent_where_that_is_asked_for(tmp_path: Path) -> None:
    async with (
        watch(tmp_path) as w,
        Receiver((204, "")).listening() as receiver,
        sending(w, receiver, "all"),
    ):
        await tell_of_a_chain(w)
        await until(lambda: types(receiver) == ["CHAIN_STATE_CHANGED"])


async def test_without_a_url_nothing_is_sent(tmp_path: Path) -> None:
    async with watch(tmp_path) as w, open_client() as client:
        assert event_webhook(WebhookSettings(), w.store, w.bus, w.clock, client, {}) is None


@pytest.mark.parametrize("events", ["alerts", "all"])
async def test_what_was_before_the_webhook_is_not_sent(tmp_path: Path, events: str) -> None:
    async with watch(tmp_path) as w, Receiver((204, "")).listening() as receiver:
        await w.keeper.observe([balance(10)])
        async with sending(w, receiver, events):
            await w.keeper.observe([balance(500)])
            await until(lambda: types(receiver) == ["ALERT_CLOSED"])
