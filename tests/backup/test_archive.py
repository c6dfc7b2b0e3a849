"""The container: what was sealed comes out, anything else is refused before it is used."""

from __future__ import annotations

import io
import random

import msgspec
import pytest

from core.backup.archive import (
    Archive,
    ArchiveWriter,
    measure,
    open_archive,
    open_with,
)
from core.backup.errors import (
    BackupError,
    DamagedArchiveError,
    NotAnArchiveError,
    WrongKeyError,
)
from core.backup.header import CHUNK_BYTES, canonical, new_archive_id
from core.backup.keys import new_key
from core.backup.verify import read_lines, verify
from core.model import Secret
from core.wallets.secrets import Password, RecoveryKey
from tests.backup.installation import (
    KEY,
    OPENER,
    PASSWORD,
    RECOVERY,
    full_header,
    installation,
    sealed_bytes,
    snapshot,
)

REFUSED = (DamagedArchiveError, NotAnArchiveError, WrongKeyError)
STORED_CHUNK = CHUNK_BYTES + 16


def opened(raw: bytes) -> Archive:
    return open_archive(io.BytesIO(raw), "x.bursar", KEY)


def typed(password: str) -> Password:
    """As it enters the KDF."""
    return Password(Secret(password))


def first_line(raw: bytes) -> bytes:
    """What a reader gets to see first; raises before for an archive that is not whole."""
    return next(iter(opened(raw).lines()))


def large(chunks: int) -> tuple[bytes, list[bytes], int]:
    """An archive of some full chunks and a last one, its lines, and where chunk 0 begins."""
    chance = random.Random(7)
    lines = [chance.randbytes(3000).hex().encode() for _ in range(chunks * 350)]
    out = io.BytesIO()
    writer = ArchiveWriter(out, full_header(snapshot([])), KEY)
    for line in lines:
        writer.write(line)
    writer.finish()
    raw = out.getvalue()
    return raw, lines, 11 + int.from_bytes(raw[7:11], "big")


def test_what_was_sealed_comes_out_in_order() -> None:
    raw, sealed = sealed_bytes()
    archive = opened(raw)
    assert [line for _, line in read_lines(archive)] == installation()
    assert verify(archive, sealed.sha256).sealed == sealed
    assert measure(io.BytesIO(raw), "x").content_sha256 == sealed.content_sha256


def test_every_flipped_bit_is_refused_before_anything_is_used() -> None:
    raw, _ = sealed_bytes()
    first_line(raw)
    undetected = []
    for bit in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            first_line(bytes(flipped))
        except REFUSED:
            continue
        undetected.append(bit)
    assert undetected == []


def test_every_cut_and_every_added_byte_is_refused() -> None:
    raw, _ = sealed_bytes()
    for length in range(len(raw)):
        with pytest.raises(REFUSED):
            first_line(raw[:length])
    with pytest.raises(DamagedArchiveError):
        first_line(raw + b"\0")


def test_chunks_dropped_swapped_repeated_or_from_another_archive_are_refused() -> None:
    raw, lines, start = large(3)
    assert list(opened(raw).lines()) == lines
    head, body = raw[:start], raw[start:]
    parts = [body[at : at + STORED_CHUNK] for at in range(0, len(body), STORED_CHUNK)]
    assert len(parts) >= 4
    other = parts[1][:100] + bytes([parts[1][100] ^ 1]) + parts[1][101:]
    for wrong in (
        [parts[0], *parts[2:]],
        [*parts[1:]],
        parts[:-1],
        [parts[0], parts[2], parts[1], *parts[3:]],
        [parts[0], parts[0], *parts[1:]],
        [*parts, parts[-1]],
        [parts[-1]],
        [parts[0], other, *parts[2:]],
    ):
        with pytest.raises(DamagedArchiveError, match=r"validation failed: x\.bursar, chunk \d"):
            first_line(head + b"".join(wrong))


def test_the_damaged_chunk_is_named() -> None:
    raw, _, start = large(3)
    wrong = bytearray(raw)
    wrong[start + 2 * STORED_CHUNK + 5] ^= 0x10
    with pytest.raises(DamagedArchiveError, match=r"Backup checksum validation failed: .*chunk 2"):
        first_line(bytes(wrong))


@pytest.mark.parametrize("beyond", [-1, 0, 1])
@pytest.mark.parametrize("chunks", [1, 2])
def test_payloads_that_end_at_a_chunks_border_are_read_back(chunks: int, beyond: int) -> None:
    # Bytes that do not shrink, so that the compressed stream can be made to end anywhere.
    def sealed(length: int) -> tuple[bytes, bytes]:
        line = random.Random(5).randbytes(length).replace(b"\n", b"\0")
        out = io.BytesIO()
        writer = ArchiveWriter(out, full_header(snapshot([])), KEY)
        writer.write(line)
        writer.finish()
        return line, out.getvalue()

    def payload(raw: bytes) -> int:
        stored = len(raw) - 11 - int.from_bytes(raw[7:11], "big")
        return stored - 16 * -(-stored // STORED_CHUNK)

    wanted = chunks * CHUNK_BYTES + beyond
    length = wanted - 200
    line, raw = sealed(length)
    for _ in range(5):
        length += wanted - payload(raw)
        line, raw = sealed(length)
    assert payload(raw) == wanted
    assert list(opened(raw).lines()) == [line]


def test_an_archive_without_its_last_chunk_never_opens() -> None:
    out = io.BytesIO()
    writer = ArchiveWriter(out, full_header(snapshot([])), KEY)
    for _ in range(3):
        writer.write(random.Random(1).randbytes(CHUNK_BYTES).hex().encode())
    with pytest.raises(DamagedArchiveError):
        first_line(out.getvalue())


def test_password_and_recovery_key_open_and_others_do_not() -> None:
    raw, _ = sealed_bytes()
    for archive, key in (
        open_with(io.BytesIO(raw), "x", OPENER),
        open_with(io.BytesIO(raw), "x", RECOVERY),
    ):
        assert key == KEY
        assert [line for _, line in read_lines(archive)] == installation()
    with pytest.raises(WrongKeyError, match="x was not opened"):
        open_with(io.BytesIO(raw), "x", typed(PASSWORD + " "))
    with pytest.raises(WrongKeyError):
        open_with(io.BytesIO(raw), "x", RecoveryKey.generate())
    with pytest.raises(WrongKeyError):
        open_archive(io.BytesIO(raw), "x", new_key())


def test_a_password_is_the_same_however_its_letters_were_composed() -> None:
    raw, _ = sealed_bytes()
    assert open_with(io.BytesIO(raw), "x", typed(PASSWORD.replace("c", "\uff43")))[1] == KEY


def test_with_the_right_password_a_changed_header_is_called_damage_and_not_a_wrong_key() -> None:
    raw, _ = sealed_bytes()
    changed = raw.replace(b'"walletCount":3', b'"walletCount":4')
    assert changed != raw
    with pytest.raises(DamagedArchiveError, match="checksum validation failed"):
        open_with(io.BytesIO(changed), "x", OPENER)


def test_slots_of_another_archive_are_noticed() -> None:
    records = installation()
    header = full_header(snapshot(records))
    first, _ = sealed_bytes(records, header)
    other, _ = sealed_bytes(records, msgspec.structs.replace(header, slots=header.slots[:1]))
    head = _fields(first)
    foreign = _fields(other)
    for taken in (
        {**head, "slots": foreign["slots"]},
        {**head, "slotsTag": "00" * 32},
        {**head, "slots": []},
    ):
        text = canonical(taken)
        start = 11 + int.from_bytes(first[7:11], "big")
        raw = first[:7] + len(text).to_bytes(4, "big") + text + first[start:]
        with pytest.raises(REFUSED):
            first_line(raw)


def _fields(raw: bytes) -> dict[str, object]:
    length = int.from_bytes(raw[7:11], "big")
    return msgspec.json.decode(raw[11 : 11 + length], type=dict[str, object])


def test_other_spellings_of_the_same_header_are_refused() -> None:
    raw, _ = sealed_bytes()
    length = int.from_bytes(raw[7:11], "big")
    text = raw[11 : 11 + length].replace(b'"version":1', b'"version": 1')
    spelled = raw[:7] + len(text).to_bytes(4, "big") + text + raw[11 + length :]
    with pytest.raises(DamagedArchiveError, match="header"):
        first_line(spelled)


def test_a_newer_format_and_a_foreign_file_are_told_apart_from_damage() -> None:
    raw, _ = sealed_bytes()
    with pytest.raises(NotAnArchiveError, match="format 2"):
        first_line(raw[:6] + b"\x02" + raw[7:])
    with pytest.raises(NotAnArchiveError, match="no Bursar backup"):
        first_line(b"PK\x03\x04" + raw)


def test_a_line_cannot_hold_a_line_feed() -> None:
    writer = ArchiveWriter(io.BytesIO(), full_header(snapshot([])), KEY)
    with pytest.raises(BackupError, match="one line"):
        writer.write(b"a\nb")


def test_ids_of_one_millisecond_differ_and_say_their_time() -> None:
    chance = random.Random(3)
    ids = {new_archive_id(1_780_000_000_000, chance.randbytes(10)) for _ in range(1000)}
    assert len(ids) == 1000
    assert {i[:13] for i in ids} == {"019e7044-8800"}  # 1,780,000,000,000 in hexadecimal
    assert {i[14] for i in ids} == {"7"}


def test_two_readers_of_one_archive_do_not_disturb_each_other() -> None:
    raw, lines, _ = large(3)
    archive = opened(raw)
    pairs = list(zip(archive.lines(), archive.lines(), strict=True))
    assert pairs == list(zip(lines, lines, strict=True))


def test_a_file_that_changes_after_it_was_verified_is_noticed() -> None:
    raw, _, start = large(3)
    file = io.BytesIO(raw)
    archive = open_archive(file, "x", KEY)
    archive.verify()
    file.getbuffer()[start + STORED_CHUNK + 9] ^= 1
    with pytest.raises(DamagedArchiveError, match="chunk 1"):
        list(archive.lines())
