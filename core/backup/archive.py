"""The container: a header, then 1 MiB chunks of AES-256-GCM over a zstd stream of lines.

The STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizar 2015): the nonce is prefix | counter |
last flag, so a chunk that was flipped, cut, swapped, dropped or repeated does not authenticate.
Both ways are streamed. Nothing is handed out before every chunk of the file was seen to be whole.
Published in docs/backup-format.md. All of it blocks: call it in a thread.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import msgspec
import zstandard

from core.backup.errors import BackupError, DamagedArchiveError, WrongKeyError
from core.backup.header import CHUNK_BYTES, Head, Header, read_head, seal_header
from core.backup.keys import file_key, slots_tag, unlock
from core.wallets.ciphers import AesGcm, ForgedError
from core.wallets.secrets import Opener, SecretBytes
from core.wallets.slots import Slot

TAG_BYTES = 16
MOST_LINE_BYTES = 16 * 1024 * 1024
_LEVEL = 1  # of such lines it makes less than 3 does, in half the time
_MOST_WINDOW = 8 * 1024 * 1024
_MOST_CHUNKS = 2**32
_STORED_CHUNK = CHUNK_BYTES + TAG_BYTES


class Sealed(msgspec.Struct, frozen=True):
    """A finished archive: `sha256` of the whole file (the public corruption check),
    `content_sha256` of everything but the key slots (what a child names), bytes, lines."""

    header: Header
    sha256: str
    content_sha256: str
    size: int
    lines: int


class ArchiveWriter:
    """Lines in, archive out. Without `finish` what was written does not open.

    `slots` are the header's where it has none itself; they are asked for when the first chunk is
    ready to be written. Raises what they raise.
    """

    def __init__(
        self,
        out: BinaryIO,
        header: Header,
        key: SecretBytes,
        slots: Callable[[], tuple[Slot, ...]] | None = None,
    ) -> None:
        self._out = out
        self._header = header
        self._key = key
        self._slots = slots
        self._head: Head | None = None
        self._gcm = AesGcm(file_key(key, bytes.fromhex(header.salt), header.id))
        self._prefix = bytes.fromhex(header.nonce_prefix)
        self._zstd = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
        self._whole = hashlib.sha256()
        self._content = hashlib.sha256()
        self._pending = bytearray()
        self._count = 0
        self._chunk = 0
        self._size = 0

    def write(self, line: bytes) -> None:
        """Append one record, without its line feed."""
        if b"\n" in line:
            raise BackupError("A record with a line feed in it cannot be one line of a backup.")
        self.write_text(line + b"\n")

    def write_all(self, lines: Iterable[bytes]) -> None:
        """The same for many."""
        waiting: list[bytes] = []
        gathered = 0
        for line in lines:
            waiting.append(line)
            gathered += len(line)
            if gathered >= CHUNK_BYTES // 2:
                self._write_lines(waiting)
                waiting.clear()
                gathered = 0
        if waiting:
            self._write_lines(waiting)

    def _write_lines(self, lines: list[bytes]) -> None:
        text = b"\n".join([*lines, b""])
        if text.count(b"\n") != len(lines):
            raise BackupError("A record with a line feed in it cannot be one line of a backup.")
        self.write_text(text)

    def write_text(self, text: bytes) -> None:
        """Append whole lines, each with its line feed. Raises BackupError for one too long."""
        if len(text) > MOST_LINE_BYTES:
            longest = max(map(len, text.split(b"\n")))
            if longest > MOST_LINE_BYTES:
                raise BackupError(f"A record of {longest} bytes cannot be one line of a backup.")
        self._count += text.count(b"\n")
        self._pending += self._zstd.compress(text)
        self._seal_full_chunks()

    def finish(self) -> Sealed:
        """Write the last chunk. The caller still has to fsync."""
        self._pending += self._zstd.flush()
        self._seal_full_chunks()
        head = self._seal_chunk(bytes(self._pending), last=True)
        return Sealed(
            head.header,
            self._whole.hexdigest(),
            self._content.hexdigest(),
            self._size,
            self._count,
        )

    def _seal_full_chunks(self) -> None:
        # A chunk that is just full may be the last one, so it waits for a byte after it.
        while len(self._pending) > CHUNK_BYTES:
            self._seal_chunk(bytes(self._pending[:CHUNK_BYTES]), last=False)
            del self._pending[:CHUNK_BYTES]

    def _seal_chunk(self, plain: bytes, *, last: bool) -> Head:
        if self._chunk >= _MOST_CHUNKS:
            raise BackupError(
                "The backup is larger than 4 PiB; that is more than the format holds."
            )
        head = self._head or self._begin()
        nonce = _nonce(self._prefix, self._chunk, last)
        stored = self._gcm.encrypt(nonce, plain, head.associated)
        self._chunk += 1
        self._content.update(stored)
        self._emit(stored)
        return head

    def _begin(self) -> Head:
        header = self._header
        if self._slots is not None:
            header = msgspec.structs.replace(header, slots=self._slots())
        raw, self._head = seal_header(header, self._key)
        self._content.update(self._head.associated)
        self._emit(raw)
        return self._head

    def _emit(self, raw: bytes) -> None:
        self._whole.update(raw)
        self._size += len(raw)
        self._out.write(raw)


class Archive:
    """An archive opened for reading from a seekable file, which stays the caller's to close.

    Raises WrongKeyError when `key` is another archive's, DamagedArchiveError for changed slots.
    """

    def __init__(self, file: BinaryIO, name: str, head: Head, key: SecretBytes) -> None:
        tag = slots_tag(key, head.header.id, head.slots_json)
        header = head.header
        self.header = header
        self.name = name
        self._file = file
        self._head = head
        self._gcm = AesGcm(file_key(key, bytes.fromhex(header.salt), header.id))
        self._prefix = bytes.fromhex(header.nonce_prefix)
        self._whole = False
        first = next(self._stored_chunks())
        try:
            self._gcm.decrypt(_nonce(self._prefix, *first[:2]), first[2], head.associated)
        except ForgedError as error:
            if not hmac.compare_digest(tag, header.slots_tag):
                raise WrongKeyError(
                    f"The key does not open {name}, or its beginning was damaged. Check that "
                    "key and file are of the same installation, and try another copy."
                ) from error
            raise DamagedArchiveError(name, "chunk 0", "it is not as it was sealed") from error
        if not hmac.compare_digest(tag, header.slots_tag):
            raise DamagedArchiveError(name, "header", "its key slots were changed")

    def verify(self) -> Sealed:
        """Authenticate every chunk, handing out nothing. Raises DamagedArchiveError."""
        whole, content = hashlib.sha256(), hashlib.sha256(self._head.associated)
        self._file.seek(0)
        whole.update(self._file.read(self._head.size))
        size, lines = self._head.size, 0
        inflate = _Inflater(self.name)
        for number, last, stored in self._stored_chunks():
            whole.update(stored)
            content.update(stored)
            size += len(stored)
            for part in inflate.feed(number, self._open(number, last, stored), last):
                lines += part.count(b"\n")
        self._whole = True
        return Sealed(self.header, whole.hexdigest(), content.hexdigest(), size, lines)

    def lines(self) -> Iterator[bytes]:
        """Every record's line in order, after the whole file was verified once.

        Raises DamagedArchiveError before the first line; afterwards only if the file changed
        between the two readings, so keep what it gives in a staging place until it ends.
        """
        if not self._whole:
            self.verify()
        inflate = _Inflater(self.name)
        rest = b""
        for number, last, stored in self._stored_chunks():
            for part in inflate.feed(number, self._open(number, last, stored), last):
                lines = (rest + part).split(b"\n")
                rest = lines.pop()
                if len(rest) > MOST_LINE_BYTES:
                    raise DamagedArchiveError(self.name, f"chunk {number}", "a line has no end")
                yield from lines
        if rest:
            raise DamagedArchiveError(self.name, "last chunk", "it ends inside a record")

    def _open(self, number: int, last: bool, stored: bytes) -> bytes:
        try:
            return self._gcm.decrypt(
                _nonce(self._prefix, number, last), stored, self._head.associated
            )
        except ForgedError as error:
            raise DamagedArchiveError(
                self.name, f"chunk {number}", "it is not as it was sealed"
            ) from error

    def _stored_chunks(self) -> Iterator[tuple[int, bool, bytes]]:
        # By place and not by the file's own position: two readers may take turns.
        number, at = 0, self._head.size
        stored = self._read(at)
        while True:
            at += len(stored)
            following = self._read(at) if len(stored) == _STORED_CHUNK else b""
            if len(stored) < TAG_BYTES:
                raise DamagedArchiveError(self.name, f"chunk {number}", "the file is cut short")
            yield number, not following, stored
            if not following:
                return
            number, stored = number + 1, following

    def _read(self, at: int) -> bytes:
        self._file.seek(at)
        return self._file.read(_STORED_CHUNK)


class _Inflater:
    """One zstd frame, which must end exactly with the last chunk."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._zstd = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW).decompressobj()

    def feed(self, number: int, plain: bytes, last: bool) -> Iterator[bytes]:
        # In pieces: what a compressed MiB unfolds to has no bound of its own.
        try:
            for at in range(0, len(plain), 64 * 1024):
                yield self._zstd.decompress(plain[at : at + 64 * 1024])
        except (zstandard.ZstdError, EOFError) as error:
            raise DamagedArchiveError(self._name, f"chunk {number}", str(error)) from error
        if self._zstd.eof != last or self._zstd.unused_data:
            raise DamagedArchiveError(
                self._name,
                f"chunk {number}",
                "the compressed stream and the chunks do not end together",
            )


def open_archive(file: BinaryIO, name: str, key: SecretBytes) -> Archive:
    """An archive by its backup key.

    Raises NotAnArchiveError, WrongKeyError, DamagedArchiveError.
    """
    file.seek(0)
    return Archive(file, name, read_head(file, name), key)


def open_with(file: BinaryIO, name: str, opener: Opener) -> tuple[Archive, SecretBytes]:
    """An archive by its password or recovery key, and the backup key for the rest of its chain.
    Raises alike, and KeySlotError."""
    file.seek(0)
    head = read_head(file, name)
    key = unlock(head.header.slots, opener, head.header.install_id, name)
    return _proven(file, name, head, key), key


def _proven(file: BinaryIO, name: str, head: Head, key: SecretBytes) -> Archive:
    try:
        return Archive(file, name, head, key)
    except WrongKeyError as error:  # a slot gave up this key: the key is right
        raise DamagedArchiveError(name, "header", "it is not as it was sealed") from error


def measure(file: BinaryIO, name: str) -> Sealed:
    """The hashes of an archive that nobody unlocked: nothing is authenticated, `lines` is 0."""
    file.seek(0)
    head = read_head(file, name)
    file.seek(0)
    whole = hashlib.sha256(file.read(head.size))
    content = hashlib.sha256(head.associated)
    size = head.size
    while part := file.read(CHUNK_BYTES):
        whole.update(part)
        content.update(part)
        size += len(part)
    return Sealed(head.header, whole.hexdigest(), content.hexdigest(), size, 0)


def new_salts() -> tuple[str, str]:
    """Salt and nonce prefix for a new header, hex."""
    return os.urandom(32).hex(), os.urandom(7).hex()


def _nonce(prefix: bytes, number: int, last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([last])
