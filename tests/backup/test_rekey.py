"""New slots for old archives, verification, and the classic form."""

from __future__ import annotations

import io
import json
import secrets
import traceback
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from core.backup.archive import ArchiveWriter, open_archive, open_with
from core.backup.catalogue import entry_of
from core.backup.errors import (
    BackupError,
    ChainError,
    DamagedArchiveError,
    KeySlotError,
    RecordError,
    WrongKeyError,
)
from core.backup.header import BackupType, Header
from core.backup.keys import make_slots, new_key
from core.backup.records import Gone, LedgerCheckpoint, Line, Seed, Whole, encode
from core.backup.rekey import rekey
from core.backup.show import classic_json
from core.backup.verify import RestoredChain, verify
from core.model import Secret
from core.wallets.secrets import Password
from tests.backup.installation import (
    CHEAP,
    INSTALL_ID,
    KEY,
    OPENER,
    PASSWORD,
    Workshop,
    full_header,
    installation,
    snapshot,
)

NEW_OPENER = Password(Secret("another horse with another battery"))


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_after_a_rekey_the_new_password_opens_it_and_its_children_still_fit(
    workshop: Workshop,
) -> None:
    full = workshop.make(installation(("alpha",)))
    child = workshop.make(installation(("beta",)))
    target = workshop.folder / "rekeyed"
    slots = make_slots(KEY, INSTALL_ID, NEW_OPENER, None, CHEAP)
    done = rekey(full.path, target, KEY, slots)
    assert "keep the old password" in done.notice
    assert done.sealed.content_sha256 == full.sealed.content_sha256
    assert done.sealed.sha256 != full.sealed.sha256
    assert target.stat().st_mode & 0o777 == 0o600
    with target.open("rb") as file:
        assert open_with(file, "x", NEW_OPENER)[1] == KEY
        with pytest.raises(WrongKeyError):
            open_with(file, "x", OPENER)
        verify(open_archive(file, "x", KEY), done.sealed.sha256)
        with pytest.raises(DamagedArchiveError, match="other key slots"):
            verify(open_archive(file, "x", KEY), full.sealed.sha256)
    with full.path.open("rb") as file:
        assert open_with(file, "x", OPENER)[1] == KEY  # as the notice says
    with RestoredChain([target, child.path], KEY) as chain:
        assert list(chain.records()) == installation(("beta",))


def test_a_rekey_that_cannot_be_done_leaves_nothing(workshop: Workshop) -> None:
    full = workshop.make(installation())
    target = workshop.folder / "rekeyed"
    slots = make_slots(KEY, INSTALL_ID, NEW_OPENER, None, CHEAP)
    raw = bytearray(full.path.read_bytes())
    raw[-1] ^= 1
    damaged = workshop.folder / "damaged"
    damaged.write_bytes(raw)
    with pytest.raises(DamagedArchiveError):
        rekey(damaged, target, KEY, slots)
    with pytest.raises(WrongKeyError):
        rekey(full.path, target, new_key(), slots)
    with pytest.raises(KeySlotError):
        rekey(full.path, target, KEY, ())
    with pytest.raises(BackupError):
        rekey(workshop.folder / "nowhere", target, KEY, slots)
    assert not target.exists()
    target.write_bytes(b"somebody's")
    with pytest.raises(BackupError, match="cannot be written"):
        rekey(full.path, target, KEY, slots)
    assert target.read_bytes() == b"somebody's"


def forged(lines: Sequence[Line], header: Header) -> bytes:
    """An archive by somebody who has the key and no care."""
    out = io.BytesIO()
    writer = ArchiveWriter(out, header, KEY)
    for line in lines:
        writer.write(encode(line))
    writer.finish()
    return out.getvalue()


def test_an_archive_that_authenticates_but_does_not_add_up_is_refused(tmp_path: Path) -> None:
    good = installation()
    header = full_header(snapshot(good))
    changed = msgspec.structs.replace
    no_seed = [record for record in good if not isinstance(record, Seed)]
    for lines, said, error in (
        (good, changed(header, wallet_count=4), ChainError),
        (good, changed(header, seed_fingerprint=None), ChainError),
        (no_seed, header, ChainError),
        (good[::-1], header, RecordError),
        ([*good, Gone("checkpoint", ("00000001",))], header, ChainError),
    ):
        raw = forged(lines, said)
        with pytest.raises(error):
            verify(open_archive(io.BytesIO(raw), "x", KEY))
    path = tmp_path / "x"
    torn = [*good, LedgerCheckpoint(sequence=Whole(8), part=Whole(1), parts=Whole(2), content=b"")]
    for lines, said in (
        (good, changed(header, wallet_count=4)),
        (good, changed(header, seed_fingerprint="other")),
        (torn, header),
    ):
        path.write_bytes(forged(lines, said))
        with pytest.raises(ChainError), RestoredChain([path], KEY):
            pass


def test_verify_counts_what_it_found(workshop: Workshop) -> None:
    workshop.make(installation(("alpha", "beta")))
    made = workshop.make(installation(("alpha",)))
    with made.path.open("rb") as file:
        found = verify(open_archive(file, made.path.name, KEY), made.sealed.sha256)
    assert (found.upserts, found.tombstones) == ({"seed": 1}, 4)
    with pytest.raises(ChainError, match="1 to 7"), RestoredChain([], KEY):
        pass


def test_the_chain_is_proven_to_its_last_byte_before_a_record_is_handed_out(
    workshop: Workshop,
) -> None:
    workshop.make(installation(("alpha",)))
    made = workshop.make(installation(("beta",)))
    files = workshop.files(made.sealed.header.id)
    raw = bytearray(files[1].read_bytes())
    raw[-1] ^= 1
    files[1].write_bytes(raw)
    handed_out = []
    with (
        pytest.raises(DamagedArchiveError, match=files[1].name),
        RestoredChain(files, KEY) as chain,
    ):
        handed_out += list(chain.records())
    assert handed_out == []


def test_the_classic_form_has_its_fields_and_exact_integers(workshop: Workshop) -> None:
    made = workshop.make(installation(("alpha", "beta")))
    text = "".join(classic_json(made.sealed, installation(("alpha", "beta"))))
    shown = json.loads(text)
    assert list(shown) == [
        "version", "timestamp", "type", "wallets", "lifecycleRecords", "balanceSnapshots",
        "encryptedMasterSeed", "checksum",
    ]  # fmt: skip
    assert [wallet["agent"] for wallet in shown["wallets"]] == ["alpha", "beta"]
    assert shown["balanceSnapshots"][0]["amount"] == "100000000000000000000"
    assert shown["lifecycleRecords"][1]["state"] == "ACTIVE"
    assert shown["encryptedMasterSeed"]["fingerprint"] == made.sealed.header.seed_fingerprint
    assert shown["checksum"] == made.sealed.sha256
    assert shown["type"] == BackupType.FULL
    nothing = json.loads("".join(classic_json(made.sealed, [])))
    assert nothing["wallets"] == nothing["balanceSnapshots"] == []
    assert nothing["encryptedMasterSeed"] is None


def test_no_secret_is_in_any_file_error_or_log(
    workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    agent, password = secrets.token_hex(8), secrets.token_hex(12)  # in no source line
    made = workshop.make(installation((agent,)))
    slots = make_slots(KEY, INSTALL_ID, Password(Secret(password)), None, CHEAP)
    rekeyed = rekey(made.path, workshop.folder / "rekeyed", KEY, slots)
    told = [
        repr(made),
        repr(rekeyed),
        repr(workshop.ring),
        entry_of(made.sealed).sidecar().decode(),
    ]
    for path, wrong in ((made.path, password), (rekeyed.path, password + "x")):
        with path.open("rb") as file, pytest.raises(WrongKeyError) as caught:
            open_with(file, path.name, Password(Secret(wrong)))
        told += traceback.format_exception(caught.value)
    written = b"".join(path.read_bytes() for path in (made.path, rekeyed.path))
    seen = written + "\n".join([*told, caplog.text]).encode()
    for canary in (agent, password, KEY.reveal().hex(), PASSWORD, "ciphertext of the seed"):
        assert canary.encode() not in seen
    assert KEY.reveal() not in seen
