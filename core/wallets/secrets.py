"""Keys that must not be shown, and the two things an operator opens Bursar's secrets with.

Plain texts (passwords, words, keys as typed) are `core.telemetry.logs.Secret`. Here are their
binary forms: every way to text but `reveal` gives a mask. A wiped copy proves nothing in Python
(strings, swap and copies stay), so none is promised.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import unicodedata

from core.model import BursarError, Secret

_MASK = "********"
_KEY_BYTES = 32
_CHECK_BYTES = 3  # 35 bytes are 56 base32 letters: fourteen groups of four
_GROUP = 4
# RFC 4648 has no 0, 1 and 8 in base32, so who reads one meant the letter beside it.
_MISREAD = str.maketrans("018", "OIB", " -\t\r\n")


class RecoveryKeyError(BursarError):
    """A text is no recovery key, or was mistyped."""


class SecretBytes:
    """Bytes that must not be shown. Compared in constant time; not serialised, not hashed."""

    __slots__ = ("_bytes",)

    def __init__(self, content: bytes) -> None:
        self._bytes = bytes(content)

    def reveal(self) -> bytes:
        """The bytes themselves, for the one place that needs them."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._bytes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_MASK})"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        return _MASK

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and hmac.compare_digest(self._bytes, other._bytes)

    __hash__ = None  # type: ignore[assignment]  # a hash of a secret would be a trace of it

    def __reduce__(self) -> str:
        raise TypeError("a secret is not serialised")


class Password(SecretBytes):
    """What an operator typed, as it enters the KDF: NFKC (Unicode annex 15), UTF-8. The same
    password typed on another keyboard or system gives the same bytes."""

    __slots__ = ()

    def __init__(self, typed: Secret) -> None:
        # surrogatepass: a strict encoder's error would carry the password with it
        super().__init__(normalised(typed).reveal().encode("utf-8", "surrogatepass"))


class RecoveryKey(SecretBytes):
    """32 random bytes, kept on paper, that open what the password opens."""

    __slots__ = ()

    @classmethod
    def generate(cls) -> RecoveryKey:
        """A new key from the system's random source."""
        return cls(os.urandom(_KEY_BYTES))

    @classmethod
    def parse(cls, typed: Secret) -> RecoveryKey:
        """Read the text form; spaces, dashes and case do not count. Raises RecoveryKeyError."""
        raw = _decoded(typed)
        if raw is None:
            raise RecoveryKeyError(
                "That is no recovery key: it has fourteen groups of four letters and digits."
            )
        key = cls(raw.reveal()[:_KEY_BYTES])
        if not hmac.compare_digest(raw.reveal()[_KEY_BYTES:], _checksum(key)):
            raise RecoveryKeyError("The recovery key was mistyped: its check letters do not fit.")
        return key

    def text(self) -> Secret:
        """The form for paper: fourteen groups of four, RFC 4648 base32 with a checksum."""
        letters = base64.b32encode(self.reveal() + _checksum(self)).decode()
        groups = (letters[i : i + _GROUP] for i in range(0, len(letters), _GROUP))
        return Secret("-".join(groups))


Opener = Password | RecoveryKey


def opener(typed: Secret) -> Opener:
    """What a person typed into a field that takes either: a recovery key where the text is one to
    its last check letter, else a password."""
    try:
        return RecoveryKey.parse(typed)
    except RecoveryKeyError:
        return Password(typed)


def normalised(typed: Secret) -> Secret:
    """The text in NFKC."""
    return Secret(unicodedata.normalize("NFKC", typed.reveal()))


def _decoded(typed: Secret) -> SecretBytes | None:
    try:
        raw = SecretBytes(base64.b32decode(typed.reveal().upper().translate(_MISREAD)))
    except ValueError:
        return None
    return raw if len(raw) == _KEY_BYTES + _CHECK_BYTES else None


def _checksum(key: SecretBytes) -> bytes:
    return hashlib.sha256(b"bursar recovery key" + key.reveal()).digest()[:_CHECK_BYTES]
