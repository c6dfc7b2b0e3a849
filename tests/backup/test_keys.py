"""The backup key's slots and the key ring: bound to the installation, written once, never shown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import msgspec
import pytest

from core.backup.archive import open_with
from core.backup.catalogue import Catalogue
from core.backup.errors import KeySlotError, WrongKeyError
from core.backup.header import BackupType
from core.backup.keyring import (
    KeyRing,
    RingInMaking,
    begin_key_ring,
    create_key_ring,
    format_key_ring,
    new_install_id,
    parse_key_ring,
    read_key_file,
    replace_key_ring,
    with_new_slots,
)
from core.backup.keys import check_slots, make_slots, new_key, unlock
from core.backup.making import make
from core.backup.records import AnyRecord
from core.backup.verify import read_lines
from core.model import Secret
from core.wallets.passwords import WeakPasswordError
from core.wallets.secrets import Password, RecoveryKey
from core.wallets.slots import Argon2Parameters
from tests.backup.installation import (
    CHEAP,
    INSTALL_ID,
    KEY,
    OPENER,
    PASSWORD,
    RECOVERY,
    installation,
    ring,
    snapshot,
)


def test_password_and_recovery_key_each_unlock_the_backup_key() -> None:
    assert unlock(ring().slots, OPENER, INSTALL_ID) == KEY
    assert unlock(ring().slots, RECOVERY, INSTALL_ID) == KEY


def test_a_wrong_one_is_told_apart_from_a_missing_slot_and_names_the_file() -> None:
    with pytest.raises(WrongKeyError, match=r"password is wrong\. x\.bursar was not opened"):
        unlock(ring().slots, Password(Secret("another password")), INSTALL_ID, "x.bursar")
    with pytest.raises(WrongKeyError, match="no recovery key"):
        unlock(ring().slots[:1], RECOVERY, INSTALL_ID)


def test_a_slot_moved_to_another_installation_opens_nothing() -> None:
    with pytest.raises(WrongKeyError):
        unlock(ring().slots, OPENER, "another installation")


def test_insane_slots_are_refused_as_key_slots_before_a_kdf_runs() -> None:
    costly = Argon2Parameters(memory_kib=2**40)
    slot = msgspec.structs.replace(ring().slots[0], parameters=costly)
    with pytest.raises(KeySlotError, match="not run"):
        unlock((slot,), OPENER, INSTALL_ID)
    with pytest.raises(KeySlotError, match="not run"):
        make_slots(KEY, INSTALL_ID, OPENER, None, costly)
    for wrong in ((), (slot, slot), (msgspec.structs.replace(slot, salt=b""),)):
        with pytest.raises(KeySlotError):
            check_slots(wrong)


def test_a_ring_is_created_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "backup-key.json"
    made = create_key_ring(path, INSTALL_ID, Secret(PASSWORD), RECOVERY, parameters=CHEAP)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key_file(path) == made
    assert unlock(made.slots, RECOVERY, INSTALL_ID) == made.key
    content = path.read_bytes()
    with pytest.raises(KeySlotError, match="not touched"):
        create_key_ring(path, INSTALL_ID, Secret(PASSWORD), parameters=CHEAP)
    assert path.read_bytes() == content


def test_of_two_rings_created_at_once_one_is_written(tmp_path: Path) -> None:
    path = tmp_path / "backup-key.json"
    ended: list[str] = []

    def create() -> None:
        try:
            made = create_key_ring(path, INSTALL_ID, Secret(PASSWORD), parameters=CHEAP)
            ended.append(made.key.reveal().hex())
        except KeySlotError:
            ended.append("refused")

    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended)[1] == "refused"
    assert read_key_file(path).key.reveal().hex() in ended


def test_a_backup_is_sealed_while_the_ring_it_is_opened_by_is_still_made(tmp_path: Path) -> None:
    made: Future[KeyRing] = Future()
    making = RingInMaking(INSTALL_ID, KEY, made)

    def records() -> Iterator[AnyRecord]:
        yield from installation()
        made.set_result(ring())  # asked for sooner, make() never ends

    found = msgspec.structs.replace(snapshot(installation()), records=records())
    sealed = make(tmp_path, found, making, Catalogue(), BackupType.FULL, 1_780_000_000_000)
    with sealed.path.open("rb") as file:
        archive, key = open_with(file, "x", OPENER)
        assert [line for _, line in read_lines(archive)] == installation()
    assert key == KEY


def test_a_ring_that_cannot_be_written_leaves_no_backup_sealed_under_it(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    path = tmp_path / "not there" / "ring"
    making = begin_key_ring(path, INSTALL_ID, Secret(PASSWORD), parameters=CHEAP)
    with pytest.raises(KeySlotError, match="not there"):
        make(spool, snapshot(installation()), making, Catalogue(), BackupType.FULL, 1)
    with pytest.raises(KeySlotError, match="not there"):
        making.finish()
    assert list(spool.iterdir()) == []


def test_a_weak_password_makes_no_ring(tmp_path: Path) -> None:
    with pytest.raises(WeakPasswordError):
        create_key_ring(tmp_path / "ring", new_install_id(), Secret("Password12345678!"))
    assert list(tmp_path.iterdir()) == []


def test_other_slots_keep_the_key_and_the_installation(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    before = create_key_ring(path, INSTALL_ID, Secret(PASSWORD), RECOVERY, parameters=CHEAP)
    changed = Secret("another horse with another battery")
    after = with_new_slots(before, changed, parameters=CHEAP)
    replace_key_ring(path, after)
    assert read_key_file(path).key == before.key
    assert unlock(after.slots, Password(changed), INSTALL_ID) == before.key
    with pytest.raises(WrongKeyError):
        unlock(after.slots, OPENER, INSTALL_ID)
    with pytest.raises(WrongKeyError):
        unlock(after.slots, RECOVERY, INSTALL_ID)


def test_a_ring_shows_its_key_nowhere() -> None:
    for text in (repr(ring()), f"{ring().key}", str(ring().key)):
        assert KEY.reveal().hex() not in text
        assert repr(KEY.reveal()) not in text
    with pytest.raises(TypeError):
        msgspec.json.encode(ring())


def test_every_slot_has_its_own_salt_and_nonce() -> None:
    slots = [
        slot
        for _ in range(20)
        for slot in make_slots(KEY, INSTALL_ID, OPENER, RecoveryKey.generate(), CHEAP)
    ]
    assert len({slot.salt for slot in slots}) == len({slot.nonce for slot in slots}) == 40
    assert new_key() != new_key()


def test_a_key_file_is_read_when_it_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "backup.key"
    path.write_bytes(format_key_ring(ring()))
    for mode in (0o640, 0o604, 0o620, 0o666):
        path.chmod(mode)
        with pytest.raises(KeySlotError, match="chmod 600"):
            read_key_file(path)
    for mode in (0o600, 0o400):
        path.chmod(mode)
        assert read_key_file(path).key == KEY
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(KeySlotError, match="cannot be read"):
        read_key_file(link)
    with pytest.raises(KeySlotError, match="not there"):
        read_key_file(tmp_path / "nowhere")


def test_a_spoilt_key_ring_is_refused_without_quoting_it() -> None:
    text = format_key_ring(ring())
    secret = KEY.reveal().hex()
    for wrong in (
        text[:-20],
        text.replace(secret.encode(), secret[:-1].encode()),
        text.replace(secret.encode(), secret[:-2].encode()),
        b"\xff",
    ):
        with pytest.raises(KeySlotError) as caught:
            parse_key_ring(wrong, "the credential")
        assert secret[:16] not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


def test_a_ring_made_twice_has_two_keys(tmp_path: Path) -> None:
    first, second = (
        create_key_ring(tmp_path / name, INSTALL_ID, Secret(PASSWORD), parameters=CHEAP)
        for name in ("a", "b")
    )
    assert first.key != second.key
    assert new_install_id() != new_install_id()
