"""Key slots: one random key, wrapped once for each thing that may open it.

A slot says everything needed to open it but the password or recovery key: KDF, salt, parameters,
nonce. A password goes through Argon2id (RFC 9106), a recovery key, random already, through HKDF
(RFC 5869); the result wraps the key with AES-256-GCM, bound to what it is for. The seed vault and
the backups share this. All of it blocks (a quarter of a second): call it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from core.model import BursarError
from core.wallets.ciphers import AesGcm, ForgedError, argon2id, hkdf_sha256
from core.wallets.secrets import Opener, Password, SecretBytes

KEY_BYTES: Final = 32
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_WRAPPED_BYTES: Final = KEY_BYTES + 16  # and the GCM tag
_DOMAIN: Final = b"bursar key slot 1\0"

# What a file may make this machine do before anything in it is trusted.
_MEMORY_KIB: Final = range(8 * 1024, 1024 * 1024 + 1)
_ITERATIONS: Final = range(1, 17)
_LANES: Final = range(1, 17)


class SlotError(BursarError):
    """A key slot cannot be used; the message says why."""


class SlotRefusedError(SlotError):
    """A slot is malformed or asks for more work than is sane. Nothing was computed."""


class WrongKeyError(SlotError):
    """The password or recovery key opens no slot."""


class Argon2Parameters(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Cost of Argon2id: memory in KiB, passes, lanes."""

    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4


class Slot(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The key wrapped for one opener; JSON with bytes as base64."""

    kind: Literal["password", "recovery"]
    kdf: Literal["argon2id", "hkdf-sha256"]
    salt: bytes
    parameters: Argon2Parameters | None
    nonce: bytes
    wrapped: bytes


def wrap(
    key: SecretBytes,
    opener: Opener,
    context: bytes,
    parameters: Argon2Parameters | None = None,
) -> Slot:
    """Wrap 32 bytes of key. `context` names what the key is for (a vault's or a backup's id): the
    slot opens nothing else. `parameters` are for passwords. Raises SlotRefusedError."""
    is_password = isinstance(opener, Password)
    slot = Slot(
        kind="password" if is_password else "recovery",
        kdf="argon2id" if is_password else "hkdf-sha256",
        salt=os.urandom(_SALT_BYTES),
        parameters=(parameters or Argon2Parameters()) if is_password else None,
        nonce=os.urandom(_NONCE_BYTES),
        wrapped=bytes(_WRAPPED_BYTES),
    )
    check_slot(slot)
    wrapping = AesGcm(_wrapping_key(slot, opener))
    wrapped = wrapping.encrypt(slot.nonce, key.reveal(), _bound_to(slot, context))
    return msgspec.structs.replace(slot, wrapped=wrapped)


def unwrap(slots: Sequence[Slot], opener: Opener, context: bytes) -> SecretBytes:
    """The key that `opener` opens among `slots`. Every slot is checked before any KDF runs.

    Raises WrongKeyError; SlotRefusedError for slots no sane file has.
    """
    check_slots(slots)
    kind = "password" if isinstance(opener, Password) else "recovery"
    slot = next((slot for slot in slots if slot.kind == kind), None)
    if slot is None:
        raise WrongKeyError(f"There is no {_WORDS[kind]} for this; it was made without one.")
    key = _opened(slot, opener, context)
    if key is None:
        raise WrongKeyError(f"The {_WORDS[kind]} is wrong.")
    return key


def check_slots(slots: Sequence[Slot]) -> None:
    """Refuse slots that are none, doubled or insane. Raises SlotRefusedError."""
    kinds = [slot.kind for slot in slots]
    if not slots or len(set(kinds)) != len(kinds):
        raise SlotRefusedError("One key slot of each kind is expected: the file is damaged.")
    for slot in slots:
        check_slot(slot)


def check_slot(slot: Slot) -> None:
    """Refuse a slot that is malformed or costs more than is sane. Raises SlotRefusedError."""
    if (len(slot.salt), len(slot.nonce), len(slot.wrapped)) != (
        _SALT_BYTES,
        _NONCE_BYTES,
        _WRAPPED_BYTES,
    ):
        raise SlotRefusedError("A key slot has fields of a wrong length: the file is damaged.")
    if (slot.kind, slot.kdf, slot.parameters is None) not in (
        ("password", "argon2id", False),
        ("recovery", "hkdf-sha256", True),
    ):
        raise SlotRefusedError("A key slot's kind and KDF do not go together.")
    if slot.parameters is not None:
        _check_parameters(slot.parameters)


def _check_parameters(parameters: Argon2Parameters) -> None:
    for name, value, sane in (
        ("memoryKib", parameters.memory_kib, _MEMORY_KIB),
        ("iterations", parameters.iterations, _ITERATIONS),
        ("lanes", parameters.lanes, _LANES),
    ):
        if value not in sane:
            raise SlotRefusedError(
                f"Argon2id with {name} {value} is outside {sane.start} to {sane.stop - 1}; "
                "it was not run."
            )


def _opened(slot: Slot, opener: Opener, context: bytes) -> SecretBytes | None:
    wrapping = AesGcm(_wrapping_key(slot, opener))
    try:
        return SecretBytes(
            wrapping.decrypt(slot.nonce, slot.wrapped, _bound_to(slot, context)),
        )
    except ForgedError:
        return None


def _wrapping_key(slot: Slot, opener: Opener) -> SecretBytes:
    if slot.parameters is None:
        return hkdf_sha256(opener, slot.salt, _DOMAIN, KEY_BYTES)
    try:
        return argon2id(
            opener,
            slot.salt,
            KEY_BYTES,
            iterations=slot.parameters.iterations,
            lanes=slot.parameters.lanes,
            memory_kib=slot.parameters.memory_kib,
        )
    except MemoryError:
        needed = slot.parameters.memory_kib // 1024
    raise SlotError(f"Checking the password takes {needed} MiB of memory; free some and try again.")


def _bound_to(slot: Slot, context: bytes) -> bytes:
    """The associated data: a slot moved to another file, or given another kind, opens nothing."""
    return _DOMAIN + slot.kind.encode() + b"\0" + context


_WORDS: Final = {"password": "password", "recovery": "recovery key"}
