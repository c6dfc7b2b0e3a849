"""The clear, authenticated head of an archive: what it is, whose, and what it follows.

Canonical JSON (keys sorted, no spaces, ASCII): the bytes in the file must be exactly what encoding
their content gives. All of it but the key slots is associated data of every chunk; the slots,
which `rekey` may rewrite, have a tag of their own under the backup key.
"""

from __future__ import annotations

import json
import re
import uuid
from datetime import datetime
from enum import StrEnum
from typing import BinaryIO

import msgspec

from core.backup.errors import DamagedArchiveError, KeySlotError, NotAnArchiveError
from core.backup.keys import check_slots, slots_tag
from core.events import iso_utc
from core.wallets.secrets import SecretBytes
from core.wallets.slots import Slot

MAGIC = b"BURSAR"
FORMAT_VERSION = 1
CHUNK_BYTES = 1024 * 1024
PREFIX_BYTES = 7
MOST_HEADER_BYTES = 64 * 1024
_NAME = re.compile(
    r"wallet-backup-(\d{1,15})-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.bursar"
)
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class BackupType(StrEnum):
    """Everything, or what differs from the parent."""

    FULL = "full"
    INCREMENTAL = "incremental"


class Header(msgspec.Struct, frozen=True, rename="camel", kw_only=True, forbid_unknown_fields=True):
    """What an archive says of itself in the clear.

    `sequence` counts the installation's archives: which is newest does not hang on a clock.
    `parent_sha256` is the parent's `content_sha256`. `salt` and `nonce_prefix` are hex.
    """

    format: str = "bursar-backup"
    version: int = FORMAT_VERSION
    id: str
    install_id: str
    type: BackupType
    sequence: int
    created_at: str  # ISO 8601, UTC, milliseconds
    parent_id: str | None = None
    parent_sha256: str | None = msgspec.field(default=None, name="parentSha256")
    wallet_count: int
    seed_fingerprint: str | None = None
    compression: str = "zstd"
    chunk_size: int = CHUNK_BYTES
    salt: str
    nonce_prefix: str
    slots: tuple[Slot, ...] = ()
    slots_tag: str = ""

    @property
    def created_ms(self) -> int:
        """`created_at` as milliseconds since the epoch."""
        return parse_iso(self.created_at)

    @property
    def name(self) -> str:
        """File name and object key."""
        return archive_name(self.created_ms, self.id)


def archive_name(created_ms: int, archive_id: str) -> str:
    """`wallet-backup-<unix ms>-<id>.bursar`."""
    return f"wallet-backup-{created_ms}-{archive_id}.bursar"


def parse_archive_name(name: str) -> tuple[int, str] | None:
    """Milliseconds and id of a name, None where it is not an archive's."""
    found = _NAME.fullmatch(name)
    return (int(found[1]), found[2]) if found else None


def new_archive_id(now_ms: int, random: bytes) -> str:
    """A UUIDv7 (RFC 9562) from ten random bytes: unique whatever the clock does."""
    value = (now_ms & (1 << 48) - 1) << 80 | int.from_bytes(random[:10], "big")
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    return str(uuid.UUID(int=value))


def parse_iso(text: str) -> int:
    """The inverse of `core.events.iso_utc`. Raises ValueError for any other spelling."""
    moment = datetime.fromisoformat(text)
    milliseconds = (
        int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000
    )
    if iso_utc(milliseconds) != text:
        raise ValueError(f"{text!r} is not a time such as 2026-11-20T11:30:00.250Z")
    return milliseconds


class Head(msgspec.Struct, frozen=True):
    """A header as it stands in a file. `associated` is authenticated with every chunk and begins
    the content hash; `size` is how many bytes precede the first chunk."""

    header: Header
    associated: bytes
    slots_json: bytes
    size: int


def canonical(value: object) -> bytes:
    """The one JSON text of a value: keys sorted, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def seal_header(header: Header, key: SecretBytes) -> tuple[bytes, Head]:
    """The bytes that precede the chunks, slots tagged under `key`; and their parts."""
    fields = msgspec.to_builtins(header)
    slots_json = canonical(fields["slots"])
    fields["slotsTag"] = slots_tag(key, header.id, slots_json)
    text = canonical(fields)
    if len(text) > MOST_HEADER_BYTES:
        raise KeySlotError(f"The header of backup {header.id} has {len(text)} bytes: too long.")
    raw = MAGIC + bytes([FORMAT_VERSION]) + len(text).to_bytes(4, "big") + text
    tagged = msgspec.structs.replace(header, slots_tag=fields["slotsTag"])
    return raw, Head(tagged, _associated(fields), slots_json, len(raw))


def read_head(file: BinaryIO, name: str) -> Head:
    """Parse and check, authenticating nothing yet and running no KDF.

    Raises NotAnArchiveError or DamagedArchiveError.
    """
    start = file.read(len(MAGIC) + 5)
    if start[: len(MAGIC)] != MAGIC:
        raise NotAnArchiveError(f"{name} is no Bursar backup: it does not begin with BURSAR.")
    if len(start) < len(MAGIC) + 5:
        raise DamagedArchiveError(name, "header", "the file is cut short")
    if start[len(MAGIC)] != FORMAT_VERSION:
        raise NotAnArchiveError(
            f"{name} has backup format {start[len(MAGIC)]}; this Bursar reads {FORMAT_VERSION}. "
            "Use the version that wrote it, or another copy if it was damaged."
        )
    length = int.from_bytes(start[-4:], "big")
    if length > MOST_HEADER_BYTES:
        raise DamagedArchiveError(name, "header", f"a header of {length} bytes is not possible")
    text = file.read(length)
    if len(text) < length:
        raise DamagedArchiveError(name, "header", "the file is cut short")
    return _parse(text, name)


def _parse(text: bytes, name: str) -> Head:
    try:
        fields = json.loads(text)
        header = msgspec.convert(fields, Header)
        is_canonical = canonical(fields) == text
        slots_json = canonical(fields["slots"])
        parse_iso(header.created_at)
        salt, prefix = bytes.fromhex(header.salt), bytes.fromhex(header.nonce_prefix)
    except (ValueError, KeyError, TypeError, RecursionError, msgspec.ValidationError) as error:
        raise DamagedArchiveError(name, "header", str(error) or type(error).__name__) from error
    is_child = header.type is BackupType.INCREMENTAL
    sane = (
        is_canonical
        and header.format == "bursar-backup"
        and header.version == FORMAT_VERSION
        and header.compression == "zstd"
        and header.chunk_size == CHUNK_BYTES
        and len(prefix) == PREFIX_BYTES
        and len(salt) == 32
        and header.sequence >= 1
        and header.wallet_count >= 0
        and _UUID7.fullmatch(header.id) is not None
        and is_child == (header.parent_id is not None) == (header.parent_sha256 is not None)
    )
    if not sane:
        raise DamagedArchiveError(name, "header", "its fields are not what Bursar writes")
    try:
        check_slots(header.slots)
    except KeySlotError as error:
        raise DamagedArchiveError(name, "header", str(error)) from error
    return Head(header, _associated(fields), slots_json, len(MAGIC) + 5 + len(text))


def _associated(fields: dict[str, object]) -> bytes:
    bound = {name: value for name, value in fields.items() if name not in ("slots", "slotsTag")}
    return MAGIC + bytes([FORMAT_VERSION]) + canonical(bound)
