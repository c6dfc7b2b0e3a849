"""Alerts on their way out: the configured webhook as a reader of the outbox.

What is signed and how it is tried again is in `core.telemetry.webhooks`. Here: which events, and
where the secret comes from.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import httpx

from core.config import ConfigError, WebhookSettings
from core.events import AlertAcknowledged, AlertClosed, AlertOpened, AlertSilenced, Bus
from core.model import Clock, Secret
from core.store.protocol import Store
from core.telemetry.webhooks import EventWebhook, SignedPost

ALERT_TYPES = (
    AlertOpened.TYPE,
    AlertClosed.TYPE,
    AlertAcknowledged.TYPE,
    AlertSilenced.TYPE,
)
READER = "events"
_LONGEST_SECRET = 4096


def event_webhook(
    settings: WebhookSettings,
    store: Store,
    bus: Bus,
    clock: Clock,
    client: httpx.AsyncClient,
    environ: Mapping[str, str] = os.environ,
) -> EventWebhook | None:
    """What sends events to [webhooks] url; its `run` is to be a task of the caller's. None where
    no URL is configured. Raises ConfigError where the secret cannot be had."""
    if not settings.url:
        return None
    post = SignedPost(client, settings.url, webhook_secret(settings, environ), clock)
    types = () if settings.events == "all" else ALERT_TYPES
    return EventWebhook(store, bus, clock, post, READER, types=types)


def webhook_secret(settings: WebhookSettings, environ: Mapping[str, str]) -> Secret:
    """The signing secret, from the variable or from the file, which must be its owner's alone.
    Blanks at its ends do not count. Raises ConfigError."""
    if settings.secret_env:
        text = environ.get(settings.secret_env, "").strip()
        where = f"${settings.secret_env}"
    else:
        path = Path(settings.secret_file).expanduser()
        text, where = _read_private(path).strip(), str(path)
    if not text:
        raise ConfigError(f"[webhooks]: {where} holds no secret.")
    return Secret(text)


def _read_private(path: Path) -> str:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError(f"[webhooks] secret_file: {path} is not a file.")
            if found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise ConfigError(
                    f"[webhooks] secret_file: {path} can be read by others; make it yours alone"
                    " (chmod 600)."
                )
            return file.read(_LONGEST_SECRET).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"[webhooks] secret_file: {path} cannot be read: {error}") from error
