"""Who can open a backup: a random backup key, wrapped once per way to unlock it.

A slot wraps the backup key under a password (Argon2id, RFC 9106) or the recovery key (HKDF,
RFC 5869), byte for byte as the seed vault's slots. The engine holds the backup key alone and
copies the slots into every archive, so a slot is bound to the installation and not to one
archive. Slots are checked before a KDF runs: a header must not order a terabyte of memory.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import unicodedata
from collections.abc import Sequence
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from core.backup.errors import KeySlotError, WrongKeyError

KEY_BYTES = 32
_SALT_BYTES = 16
_NONCE_BYTES = 12
_WRAPPED_BYTES = KEY_BYTES + 16  # and the GCM tag
_DOMAIN = b"bursar key slot 1\0"

_MEMORY_KIB = range(8 * 1024, 1024 * 1024 + 1)
_ITERATIONS = range(1, 17)
_LANES = range(1, 17)

_RECOVERY_CHECK_BYTES = 3  # 35 bytes are 56 base32 letters: fourteen groups of four
_RECOVERY_GROUP = 4
# RFC 4648 has no 0, 1 and 8 in base32, so who reads one meant the letter beside it.
_MISREAD = str.maketrans("018", "OIB", " -\t\r\n")


class SecretKey:
    """32 secret bytes that no repr, log or traceback shows. Ask for them with `reveal`."""

    __slots__ = ("_bytes",)

    def __init__(self, value: bytes) -> None:
        if len(value) != KEY_BYTES:
            raise KeySlotError(f"A key has {KEY_BYTES} bytes; this one has {len(value)}.")
        self._bytes = value

    @classmethod
    def generate(cls) -> SecretKey:
        """A new one from the operating system's source."""
        return cls(os.urandom(KEY_BYTES))

    def reveal(self) -> bytes:
        """The bytes themselves."""
        return self._bytes

    def __repr__(self) -> str:
        return "SecretKey(**)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretKey) and hmac.compare_digest(self._bytes, other._bytes)

    __hash__ = None  # type: ignore[assignment]  # a secret is no dictionary key

    def __reduce__(self) -> str:
        raise TypeError("A secret key is not pickled.")


class Argon2Parameters(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Cost of Argon2id: memory in KiB, passes over it, lanes."""

    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4


class Slot(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One way to the backup key; JSON with bytes as base64."""

    kind: Literal["password", "recovery"]
    kdf: Literal["argon2id", "hkdf-sha256"]
    salt: bytes
    parameters: Argon2Parameters | None
    nonce: bytes
    wrapped: bytes


def password_slot(
    key: SecretKey,
    password: str,
    install_id: str,
    parameters: Argon2Parameters | None = None,
) -> Slot:
    """Wrap the backup key under a password; 64 MiB, 3 passes, 4 lanes unless told otherwise."""
    parameters = parameters or Argon2Parameters()
    slot = Slot("password", "argon2id", os.urandom(_SALT_BYTES), parameters, b"", b"")
    _check_parameters(parameters)
    return _wrap(slot, key, _stretch(password, slot.salt, parameters), install_id)


def recovery_slot(key: SecretKey, recovery: SecretKey, install_id: str) -> Slot:
    """Wrap the backup key under the recovery key."""
    slot = Slot("recovery", "hkdf-sha256", os.urandom(_SALT_BYTES), None, b"", b"")
    return _wrap(slot, key, _expand(recovery, slot.salt), install_id)


def unlock_with_password(
    slots: Sequence[Slot], password: str, install_id: str, file: str = "the backup"
) -> SecretKey:
    """The backup key. Raises WrongKeyError, or KeySlotError before any KDF runs."""
    check_slots(slots)
    slot = next((slot for slot in slots if slot.kind == "password"), None)
    if slot is None or slot.parameters is None:
        raise WrongKeyError(f"{file} has no password slot; use the recovery key.")
    key = _unwrap(slot, _stretch(password, slot.salt, slot.parameters), install_id)
    if key is None:
        raise WrongKeyError(
            f"The password does not open {file}, or its key slot was damaged. A backup keeps the "
            "password it was made with: try the one in use then, or the recovery key."
        )
    return key


def unlock_with_recovery_key(
    slots: Sequence[Slot], recovery: SecretKey, install_id: str, file: str = "the backup"
) -> SecretKey:
    """The backup key. Raises WrongKeyError."""
    check_slots(slots)
    slot = next((slot for slot in slots if slot.kind == "recovery"), None)
    if slot is None:
        raise WrongKeyError(f"{file} was made without a recovery key; use the password.")
    key = _unwrap(slot, _expand(recovery, slot.salt), install_id)
    if key is None:
        raise WrongKeyError(
            f"The recovery key does not open {file}: it is another installation's, or the key "
            "slot was damaged. Use the password."
        )
    return key


def check_slots(slots: Sequence[Slot]) -> None:
    """Raises KeySlotError for slots that Bursar cannot have written; runs no KDF."""
    kinds = [slot.kind for slot in slots]
    if not slots or len(set(kinds)) != len(kinds):
        raise KeySlotError("One key slot of each kind is expected: the file is damaged.")
    for slot in slots:
        sizes = (len(slot.salt), len(slot.nonce), len(slot.wrapped))
        if sizes != (_SALT_BYTES, _NONCE_BYTES, _WRAPPED_BYTES):
            raise KeySlotError("A key slot has fields of a wrong length: the file is damaged.")
        if (slot.kind, slot.kdf, slot.parameters is None) not in (
            ("password", "argon2id", False),
            ("recovery", "hkdf-sha256", True),
        ):
            raise KeySlotError("A key slot's kind and KDF do not go together.")
        if slot.parameters is not None:
            _check_parameters(slot.parameters)


def file_key(key: SecretKey, salt: bytes, archive_id: str) -> bytes:
    """The key of one archive's chunks: HKDF-SHA256 (RFC 5869) of the backup key."""
    return _hkdf(key.reveal(), salt, b"bursar archive\0" + archive_id.encode())


def slots_tag(key: SecretKey, archive_id: str, slots_json: bytes) -> str:
    """HMAC-SHA256 over the slots as they stand in a header, hex: a flipped bit in one way to
    unlock is noticed by those who came another way."""
    mac_key = _hkdf(key.reveal(), b"", b"bursar slots\0" + archive_id.encode())
    return hmac.digest(mac_key, slots_json, "sha256").hex()


def recovery_text(recovery: SecretKey) -> str:
    """The recovery key for a sheet of paper: fourteen groups of four, base32 with a checksum."""
    letters = base64.b32encode(recovery.reveal() + _checksum(recovery.reveal())).decode()
    return "-".join(
        letters[at : at + _RECOVERY_GROUP] for at in range(0, len(letters), _RECOVERY_GROUP)
    )


def parse_recovery_text(text: str) -> SecretKey:
    """The inverse; case, spaces and dashes do not count. Raises KeySlotError."""
    try:
        value = base64.b32decode(text.upper().translate(_MISREAD))
    except ValueError:
        value = b""
    if len(value) != KEY_BYTES + _RECOVERY_CHECK_BYTES:
        raise KeySlotError(
            "That is no recovery key: it has fourteen groups of four letters and digits."
        )
    key, check = value[:KEY_BYTES], value[KEY_BYTES:]
    if not hmac.compare_digest(check, _checksum(key)):
        raise KeySlotError("The recovery key was mistyped: its check letters do not fit.")
    return SecretKey(key)


def _checksum(key: bytes) -> bytes:
    return hashlib.sha256(b"bursar recovery key" + key).digest()[:_RECOVERY_CHECK_BYTES]


def _check_parameters(parameters: Argon2Parameters) -> None:
    for name, value, sane in (
        ("memoryKib", parameters.memory_kib, _MEMORY_KIB),
        ("iterations", parameters.iterations, _ITERATIONS),
        ("lanes", parameters.lanes, _LANES),
    ):
        if value not in sane:
            raise KeySlotError(
                f"Argon2id with {name} {value} is outside {sane.start} to {sane.stop - 1}; it was "
                "not run. The file was damaged or made to harm: use another copy."
            )


def _wrap(slot: Slot, key: SecretKey, wrapping: bytes, install_id: str) -> Slot:
    nonce = os.urandom(_NONCE_BYTES)
    wrapped = AESGCM(wrapping).encrypt(nonce, key.reveal(), _bound_to(slot, install_id))
    return msgspec.structs.replace(slot, nonce=nonce, wrapped=wrapped)


def _unwrap(slot: Slot, wrapping: bytes, install_id: str) -> SecretKey | None:
    try:
        return SecretKey(
            AESGCM(wrapping).decrypt(slot.nonce, slot.wrapped, _bound_to(slot, install_id))
        )
    except InvalidTag:  # wrong, or damaged: the caller says so
        return None


def _bound_to(slot: Slot, install_id: str) -> bytes:
    """The associated data: a slot moved to another installation or kind opens nothing."""
    return _DOMAIN + slot.kind.encode() + b"\0" + b"backup " + install_id.encode()


def _stretch(password: str, salt: bytes, parameters: Argon2Parameters) -> bytes:
    # surrogatepass: a strict encoder's error would carry the password with it
    text = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    argon2id = Argon2id(
        salt=salt,
        length=KEY_BYTES,
        iterations=parameters.iterations,
        lanes=parameters.lanes,
        memory_cost=parameters.memory_kib,
    )
    try:
        return argon2id.derive(text)
    except MemoryError:
        needed = parameters.memory_kib // 1024
    raise KeySlotError(f"Checking the password takes {needed} MiB of memory; free some, try again.")


def _expand(recovery: SecretKey, salt: bytes) -> bytes:
    return _hkdf(recovery.reveal(), salt, _DOMAIN)


def _hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(secret)
