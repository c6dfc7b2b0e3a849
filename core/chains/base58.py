"""Base58Check, and the two kinds of address written in it: TRON's and XRPL's classic one.

The idea is one codec with the alphabet as a parameter. Both address kinds are a version byte and
twenty bytes of hash under a double SHA-256 checksum. What a chain's address may be, and EVM
addresses, belong to `core.chains.addresses`. (Source: Bitcoin wiki, Base58Check; XRPL
"Address Encodings"; TRON "Account address format".)
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from core.model import BursarError

BITCOIN_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
XRPL_ALPHABET: Final = "rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz"

TRON_VERSION: Final = 0x41
XRPL_ACCOUNT_VERSION: Final = 0x00

_HASH_BYTES: Final = 20
_CHECKSUM_BYTES: Final = 4
_SHORTEST, _LONGEST = 25, 35  # letters that 25 bytes can take
_DIGITS: Final = {
    alphabet: {letter: value for value, letter in enumerate(alphabet)}
    for alphabet in (BITCOIN_ALPHABET, XRPL_ALPHABET)
}


class AddressError(BursarError):
    """A text is no address of the chain; the message quotes it and says what is wrong."""


def encode_check(payload: bytes, alphabet: str = BITCOIN_ALPHABET) -> str:
    """Base58Check text of `payload` (version byte included)."""
    raw = payload + _checksum(payload)
    number = int.from_bytes(raw)
    letters: list[str] = []
    while number:
        number, digit = divmod(number, 58)
        letters.append(alphabet[digit])
    leading_zeros = len(raw) - len(raw.lstrip(b"\0"))
    return alphabet[0] * leading_zeros + "".join(reversed(letters))


def decode_check(text: str, alphabet: str = BITCOIN_ALPHABET) -> bytes:
    """The payload under a Base58Check text, version byte included, checksum verified.

    Raises AddressError naming the letter, the length or the checksum at fault.
    """
    digits = _DIGITS[alphabet]
    number = 0
    for position, letter in enumerate(text, start=1):
        digit = digits.get(letter)
        if digit is None:
            raise AddressError(
                f"{text!r}: {letter!r} at position {position} is not a base58 letter"
            )
        number = number * 58 + digit
    leading_zeros = len(text) - len(text.lstrip(alphabet[0]))
    raw = b"\0" * leading_zeros + number.to_bytes((number.bit_length() + 7) // 8)
    if len(raw) <= _CHECKSUM_BYTES:
        raise AddressError(f"{text!r}: wrong length, {len(raw)} bytes hold no payload and checksum")
    payload, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if checksum != _checksum(payload):
        raise AddressError(f"{text!r}: wrong checksum, a letter was mistyped")
    return payload


def tron_hash(text: str) -> bytes:
    """The twenty bytes that a TRON address (base58check of 0x41 and the hash) stands for.

    Raises AddressError.
    """
    return _versioned_hash(text, BITCOIN_ALPHABET, TRON_VERSION, "a TRON address begins with T")


def tron_address(account_hash: bytes) -> str:
    """The base58check address of twenty bytes of hash. Raises AddressError on another length."""
    if len(account_hash) != _HASH_BYTES:
        raise AddressError(f"{account_hash.hex()}: {len(account_hash)} bytes, a TRON hash has 20")
    return encode_check(bytes([TRON_VERSION]) + account_hash)


def tron_to_evm(text: str) -> str:
    """TRON's base58check address as JSON-RPC wants it: 0x and 40 lower-case hex digits."""
    return "0x" + tron_hash(text).hex()


def evm_to_tron(text: str) -> str:
    """The base58check address of 40 hex digits (with 0x) or of 42 (with TRON's 41 before them).

    Raises AddressError.
    """
    digits = text.removeprefix("0x").removeprefix("0X")
    if len(digits) == 42 and digits.startswith("41"):
        digits = digits[2:]
    try:
        account_hash = bytes.fromhex(digits)
    except ValueError:
        raise AddressError(f"{text!r}: not hexadecimal") from None
    return tron_address(account_hash)


def xrpl_hash(text: str) -> bytes:
    """The twenty bytes of AccountID under a classic XRPL address. Raises AddressError."""
    if text[:1] in ("X", "T") and len(text) > 40:
        raise AddressError(f"{text!r}: an X-address; give the classic address, which begins with r")
    return _versioned_hash(
        text, XRPL_ALPHABET, XRPL_ACCOUNT_VERSION, "a classic XRPL address begins with r"
    )


def xrpl_address(account_id: bytes) -> str:
    """The classic XRPL address of twenty bytes of AccountID. Raises AddressError."""
    if len(account_id) != _HASH_BYTES:
        raise AddressError(f"{account_id.hex()}: {len(account_id)} bytes, an AccountID has 20")
    return encode_check(bytes([XRPL_ACCOUNT_VERSION]) + account_id, XRPL_ALPHABET)


def _versioned_hash(text: str, alphabet: str, version: int, rule: str) -> bytes:
    if not _SHORTEST <= len(text) <= _LONGEST:
        raise AddressError(
            f"{text[:60]!r}: wrong length, {len(text)} letters are no address; {rule}"
        )
    payload = decode_check(text, alphabet)
    if len(payload) != 1 + _HASH_BYTES:
        raise AddressError(
            f"{text!r}: wrong length, {len(payload) - 1} bytes of hash instead of {_HASH_BYTES}"
        )
    if payload[0] != version:
        raise AddressError(f"{text!r}: of another network (version {payload[0]:#04x}); {rule}")
    return payload[1:]


def _checksum(payload: bytes) -> bytes:
    return sha256(sha256(payload).digest()).digest()[:_CHECKSUM_BYTES]
