"""An address as an operator wrote it, in the one form its chain's kind is stored in.

EVM: lower-case 0x hex; TRON: base58check (hex forms are taken too); XRPL: the classic address.
"""

from __future__ import annotations

import re

from core.chains.base58 import AddressError, evm_to_tron, tron_hash, xrpl_hash
from core.model import ChainKind

__all__ = ["AddressError", "parse_address"]

_TRON_HEX = re.compile(r"0x[0-9a-fA-F]{40}|(?:0x)?41[0-9a-fA-F]{40}")
_PEOPLE = {ChainKind.EVM: "an EVM", ChainKind.XRPL: "an XRPL", ChainKind.TRON: "a TRON"}


def parse_address(kind: ChainKind, text: str) -> str:
    """The address normalised. Raises AddressError saying what is wrong with it: the letter, the
    length, the checksum, or which chain it belongs to instead."""
    text = text.strip()
    if not text:
        raise AddressError(f"the address is empty; give {_PEOPLE[kind]} address")
    try:
        return _normalised(kind, text)
    except AddressError as error:
        other = next((k for k in ChainKind if k is not kind and _is_of(k, text)), None)
        if other is None:
            raise
        words = f"{text!r} is {_PEOPLE[other]} address; this chain needs {_PEOPLE[kind]} address"
        raise AddressError(words) from error


def _normalised(kind: ChainKind, text: str) -> str:
    if kind is ChainKind.XRPL:
        xrpl_hash(text)
        return text
    if kind is ChainKind.TRON:
        if _hexadecimal(text):
            return evm_to_tron(text)
        tron_hash(text)
        return text
    from core.chains.evm import address as evm  # Keccak: not for a fleet without EVM chains

    try:
        return evm.normalise(text)
    except evm.AddressError as error:
        raise AddressError(str(error)) from error


def _is_of(kind: ChainKind, text: str) -> bool:
    """Whether the text is, without any doubt, an address of that kind."""
    if kind is ChainKind.TRON and _hexadecimal(text):
        return False  # twenty bytes in hex are an EVM address to everybody
    try:
        _normalised(kind, text)
    except AddressError:
        return False
    return True


def _hexadecimal(text: str) -> bool:
    """TRON's hex forms: 0x and forty digits, or 41 and forty digits (with 0x or without)."""
    return _TRON_HEX.fullmatch(text) is not None
