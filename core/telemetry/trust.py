"""Whom TLS is verified by: the certificate authorities, loaded once and only where something asks.

Loading them takes 20 ms and 3 MB, for each client that loads its own.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from functools import lru_cache

import httpx


def trust(urls: Iterable[str]) -> ssl.SSLContext:
    """The context for a client that is to reach `urls`. Where none of them is https it trusts
    nobody, so that a TLS connection that nobody foresaw fails."""
    if any(url.lower().startswith("https:") for url in urls):
        return _authorities()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@lru_cache(maxsize=1)
def _authorities() -> ssl.SSLContext:
    """certifi's, or those that SSL_CERT_FILE or SSL_CERT_DIR names."""
    return httpx.create_ssl_context()
