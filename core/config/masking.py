"""The settings as they may be shown: endpoint URLs without credentials."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from core.config.settings import Settings


def masked(settings: Settings) -> dict[str, Any]:
    """The effective settings as plain data, endpoints without credentials, for `doctor`."""
    built: dict[str, Any] = msgspec.to_builtins(settings, enc_hook=_plain)
    for chain in built["chain"]:
        chain["endpoints"] = [mask_url(url) for url in chain["endpoints"]]
    built["webhooks"]["url"] = mask_url(built["webhooks"]["url"])
    return built


def mask_url(url: str) -> str:
    """The URL with user info, query values and key-like path segments replaced by `***`."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    authority, slash, path = rest.partition("/")
    authority = authority.rpartition("@")[2]
    path, question, query = path.partition("?")
    segments = ["***" if _looks_secret(part) else part for part in path.split("/")]
    if question:
        query = "&".join(f"{pair.partition('=')[0]}=***" for pair in query.split("&"))
    return f"{scheme}://{authority}{slash}{'/'.join(segments)}{question}{query}"


def _looks_secret(segment: str) -> bool:
    return len(segment) >= 16 and re.fullmatch(r"[A-Za-z0-9_.~%-]+", segment) is not None


def _plain(value: object) -> str:
    return str(value)
