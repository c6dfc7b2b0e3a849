"""EVM addresses: one normal form inside (lower-case 0x hex), EIP-55 checksums at the edges."""

from __future__ import annotations

import re

from Crypto.Hash import keccak

from core.model import BursarError

_SHAPE = re.compile(r"0x[0-9a-fA-F]{40}")


class AddressError(BursarError):
    """A text that is no EVM address, or one whose checksum does not hold."""


def keccak256(content: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it (not SHA3-256), 32 bytes."""
    return keccak.new(digest_bits=256, data=content).digest()


def checksum(address: str) -> str:
    """The EIP-55 form of an address in any case. Raises AddressError."""
    if not _SHAPE.fullmatch(address):
        raise AddressError(_shape_words(address))
    lower = address[2:].lower()
    digest = keccak256(lower.encode()).hex()
    cased = (c.upper() if int(d, 16) >= 8 else c for c, d in zip(lower, digest, strict=False))
    return "0x" + "".join(cased)


def normalise(address: str) -> str:
    """Lower-case 0x hex. All-lower and all-upper texts carry no checksum and are taken as they
    are; mixed case must be a right EIP-55 checksum. Raises AddressError."""
    address = address.strip()
    if not _SHAPE.fullmatch(address):
        raise AddressError(_shape_words(address))
    digits = address[2:]
    if digits not in (digits.lower(), digits.upper()) and checksum(address) != address:
        raise AddressError(
            f"{address} has a wrong checksum (EIP-55): a character was mistyped or its case "
            f"changed; copy the address again, or write it in lower case if you are sure of it"
        )
    return address.lower()


def to_bytes(address: str) -> bytes:
    """The 20 bytes of an address. Raises AddressError."""
    return bytes.fromhex(normalise(address)[2:])


def _shape_words(address: str) -> str:
    shown = address if len(address) <= 60 else address[:57] + "..."
    return f"{shown!r} is no EVM address: expected 0x and 40 hexadecimal digits"
