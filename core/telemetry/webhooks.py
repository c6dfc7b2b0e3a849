"""Signed POSTs to other people's servers, and events sent to a webhook, in order.

A receiver may be down, slow or answer twice, so every request can be repeated: it carries a key
that stays the same, and a signature over time and body. Retries wait exponentially longer with
jitter, up to an hour, and never give up. Answers are read up to a limit; redirects are failures.

Signature: `Bursar-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>." + body>`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import random
from collections.abc import Callable, Collection, Mapping
from email.utils import parsedate_to_datetime

import httpx
import msgspec

from core.config.masking import mask_url
from core.events import Bus, EventRecord
from core.model import BursarError, Clock, Secret
from core.store.protocol import Store, StoreError
from core.telemetry.trust import trust

log = logging.getLogger("bursar.telemetry")

MAX_ANSWER_BYTES = 64 * 1024
TIMEOUT_S = 10.0
FIRST_S, LONGEST_S = 1.0, 3600.0
_PAGE = 100
_STORE_RETRY_S = 5.0


class WebhookFailed(BursarError):
    """A receiver did not take a request; `retry_after_s` is what it asked for, 0 for nothing."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


def signature(secret: Secret, time_s: int, body: bytes) -> str:
    """The value of `Bursar-Signature`."""
    signed = b"%d." % time_s + body
    return f"t={time_s},v1={hmac.new(secret.reveal().encode(), signed, hashlib.sha256).hexdigest()}"


def backoff_s(failures: int, rng: Callable[[], float] = random.random) -> float:
    """Seconds to wait after that many failures in a row before this one: doubling from 1 s to an
    hour, of which a random half is taken away, so that many do not come back at once."""
    longest = min(LONGEST_S, FIRST_S * 2.0 ** min(failures, 32))
    return longest * (0.5 + rng() / 2)


def open_client(*urls: str) -> httpx.AsyncClient:
    """A client for these webhooks; TLS is verified and redirects are not followed."""
    for chatty in ("httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)  # they log whole URLs, keys included
    return httpx.AsyncClient(
        verify=trust(urls),
        limits=httpx.Limits(max_connections=32, max_keepalive_connections=8),
        follow_redirects=False,
    )


class SignedPost:
    """POSTs JSON to one URL, signed anew each time."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        secret: Secret,
        clock: Clock,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.name = mask_url(url)
        self._client = client
        self._url = url
        self._secret = secret
        self._clock = clock
        self._timeout_s = timeout_s

    async def send(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        """The body of a 2xx answer. Raises WebhookFailed for everything else."""
        signed = {
            **headers,
            "Content-Type": "application/json",
            "Bursar-Signature": signature(self._secret, self._clock.now_ms() // 1000, body),
        }
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._send(body, signed)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise WebhookFailed(f"{self.name}: no answer in {self._timeout_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            words = str(error) or type(error).__name__
            raise WebhookFailed(f"{self.name}: {words}") from error

    async def _send(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        async with self._client.stream(
            "POST", self._url, content=body, headers=headers, timeout=self._timeout_s
        ) as response:
            answer = b""
            async for part in response.aiter_bytes():
                answer += part
                if len(answer) > MAX_ANSWER_BYTES:
                    raise WebhookFailed(
                        f"{self.name}: answered more than {MAX_ANSWER_BYTES // 1024} KiB"
                    )
            if not response.is_success:
                raise WebhookFailed(
                    f"{self.name}: HTTP {response.status_code}",
                    self._retry_after_s(response.headers.get("Retry-After", "")),
                )
            return answer

    def _retry_after_s(self, header: str) -> float:
        """Both forms of RFC 9110 section 10.2.3; 0 where absent or broken; at most an hour."""
        header = header.strip()
        if header.isdecimal() and header.isascii():
            return min(LONGEST_S, float(header))
        try:
            due_s = parsedate_to_datetime(header).timestamp()
        except ValueError:
            return 0.0
        return min(LONGEST_S, max(0.0, due_s - self._clock.now_ms() / 1000))


async def send_until_taken(
    post: SignedPost,
    body: bytes,
    headers: Mapping[str, str],
    clock: Clock,
    *,
    rng: Callable[[], float] = random.random,
    note: Callable[[str], None],
) -> bytes:
    """Send the same request until it is answered by 2xx; `note` is told why it was not, and ""
    once it was. Ends otherwise only by cancellation."""
    failures = 0
    while True:
        try:
            answer = await post.send(body, headers)
        except WebhookFailed as error:
            wait_s = max(backoff_s(failures, rng), error.retry_after_s)
            failures += 1
            note(f"{error} (failure {failures}, next try in {wait_s:.0f} s)")
            await clock.sleep(wait_s)
        else:
            note("")
            return answer


class EventWebhook:
    """Sends events to a webhook, one POST each, in order, at least once; `Bursar-Event-Id` is
    unique. It begins with the events after it was first run. `error` says why the last attempt
    failed, "" when it did not. `types` empty means all."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        clock: Clock,
        post: SignedPost,
        name: str,
        *,
        types: Collection[str] = (),
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.error = ""
        self._store = store
        self._bus = bus
        self._clock = clock
        self._post = post
        self._reader = f"webhook:{name}"
        self._types = tuple(types)
        self._rng = rng

    async def run(self) -> None:
        """Follow the events. Ends only by cancellation."""
        seq: int | None = None
        while True:
            try:
                if seq is None:
                    seq = await self._resume()
                newest = await self._store.last_seq()
                records = await self._store.find_events(
                    after_seq=seq, limit=_PAGE, types=self._types
                )
                for record in records:
                    await self._deliver(record)
                    seq = record.seq
                    await self._store.set_cursor(self._reader, seq)
            except StoreError as error:
                self._note(f"{self._reader}: events are not sent: {error}")
                seq = None
                await self._clock.sleep(_STORE_RETRY_S)
                continue
            if len(records) < _PAGE:
                seq = max(seq, newest)  # what lies between is of other types
                await self._bus.wait_beyond(seq)

    async def _resume(self) -> int:
        """The last event that was delivered. A store put back to an older state has newer events
        below it: then the store's last one counts."""
        last = await self._store.last_seq()
        if await self._store.recall(self._reader) is None:
            await self._store.set_cursor(self._reader, last)
            await self._store.remember(self._reader, "begun")
        return min(last, await self._store.cursor(self._reader))

    async def _deliver(self, record: EventRecord) -> None:
        headers = {"Bursar-Event-Id": f"{record.node_id}-{record.seq}"}
        body = msgspec.json.encode(record.as_json())
        await send_until_taken(
            self._post, body, headers, self._clock, rng=self._rng, note=self._note
        )

    def _note(self, error: str) -> None:
        if error and error != self.error:
            log.warning("%s", error, extra={"component": "telemetry"})
        self.error = error
