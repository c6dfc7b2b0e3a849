"""The settings as they may be shown: endpoint URLs without credentials."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from core.config.settings import Settings

MARK = "***"
_PLAIN = re.compile(r"|v?\d{1,3}|[A-Za-z]{1,12}(-[A-Za-z]{1,12}){0,3}")


def masked(settings: Settings) -> dict[str, Any]:
    """The effective settings as plain data, endpoints without credentials, for `doctor`."""
    built: dict[str, Any] = msgspec.to_builtins(settings, enc_hook=_plain)
    for chain in built["chain"]:
        chain["endpoints"] = [mask_url(url) for url in chain["endpoints"]]
    built["webhooks"]["url"] = mask_url(built["webhooks"]["url"])
    return built


def mask_url(url: str) -> str:
    """The URL for people: user info left out, query values and every path segment that is no plain
    word or version replaced by `***`. Providers put keys there, of any length."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    authority, slash, path = rest.partition("/")
    authority = authority.rpartition("@")[2]
    path, question, query = path.partition("?")
    segments = [part if _PLAIN.fullmatch(part) else MARK for part in path.split("/")]
    if question:
        query = "&".join(f"{pair.partition('=')[0]}={MARK}" for pair in query.split("&"))
    return f"{scheme}://{authority}{slash}{'/'.join(segments)}{question}{query}"


def _plain(value: object) -> str:
    return str(value)
