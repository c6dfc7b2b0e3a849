"""Slots, the recovery key on paper, and the key ring: nothing runs unchecked, nothing shows."""

from __future__ import annotations

import pickle
from pathlib import Path

import msgspec
import pytest

from core.backup import keys
from core.backup.errors import KeySlotError, WrongKeyError
from core.backup.keyring import format_key_ring, parse_key_ring, read_key_file
from core.backup.keys import (
    Argon2Parameters,
    SecretKey,
    Slot,
    check_slots,
    parse_recovery_text,
    password_slot,
    recovery_slot,
    recovery_text,
    unlock_with_password,
)
from tests.backup.installation import CHEAP, INSTALL_ID, KEY, PASSWORD, RECOVERY, ring


@pytest.mark.parametrize(
    "parameters",
    [
        Argon2Parameters(memory_kib=8 * 1024 - 1),
        Argon2Parameters(memory_kib=1024 * 1024 + 1),
        Argon2Parameters(memory_kib=2**40),
        Argon2Parameters(iterations=0),
        Argon2Parameters(iterations=17),
        Argon2Parameters(lanes=0),
        Argon2Parameters(lanes=17),
    ],
)
def test_insane_parameters_are_refused_before_the_kdf_runs(
    parameters: Argon2Parameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = msgspec.structs.replace(ring().slots[0], parameters=parameters)

    def runs(**_: object) -> None:
        raise AssertionError("Argon2id was asked to run")

    monkeypatch.setattr(keys, "Argon2id", runs)
    with pytest.raises(KeySlotError, match="not run"):
        unlock_with_password((slot,), PASSWORD, INSTALL_ID)
    with pytest.raises(KeySlotError, match="not run"):
        password_slot(KEY, PASSWORD, INSTALL_ID, parameters)


def test_slots_that_nobody_writes_are_refused() -> None:
    password, recovery = ring().slots
    changed = msgspec.structs.replace
    for slots in (
        (),
        (password, password),
        (changed(password, salt=b""),),
        (changed(password, nonce=bytes(11)),),
        (changed(recovery, wrapped=bytes(47)),),
        (changed(recovery, kdf="argon2id"),),
        (changed(recovery, parameters=CHEAP),),
        (changed(password, parameters=None),),
    ):
        with pytest.raises(KeySlotError):
            check_slots(slots)


def test_a_slot_moved_to_another_installation_opens_nothing() -> None:
    with pytest.raises(WrongKeyError):
        unlock_with_password(ring().slots, PASSWORD, "another installation")


def test_the_recovery_key_survives_paper() -> None:
    text = recovery_text(RECOVERY)
    groups = text.split("-")
    assert [len(group) for group in groups] == [4] * 14
    assert parse_recovery_text(text) == RECOVERY
    assert parse_recovery_text(f" {text.lower().replace('-', ' ')}\n") == RECOVERY
    assert parse_recovery_text(text.replace("O", "0").replace("I", "1")) == RECOVERY
    mistyped = ("A" if text[0] != "A" else "B") + text[1:]
    with pytest.raises(KeySlotError, match="mistyped"):
        parse_recovery_text(mistyped)
    for wrong in (text[:-1], "", "?" * 56, "ä"):
        with pytest.raises(KeySlotError, match="no recovery key"):
            parse_recovery_text(wrong)


def test_a_secret_key_shows_itself_nowhere() -> None:
    for text in (repr(KEY), str(KEY), f"{KEY}", repr(ring())):
        assert KEY.reveal().hex() not in text
        assert repr(KEY.reveal()) not in text
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
    with pytest.raises(TypeError):
        msgspec.json.encode(KEY)


def test_every_way_to_make_a_slot_uses_fresh_salt_and_nonce() -> None:
    slots: list[Slot] = [recovery_slot(KEY, RECOVERY, INSTALL_ID) for _ in range(20)]
    assert len({slot.salt for slot in slots}) == len({slot.nonce for slot in slots}) == 20


def test_a_key_file_is_read_back_when_it_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "backup.key"
    path.write_bytes(format_key_ring(ring()))
    path.chmod(0o640)
    with pytest.raises(KeySlotError, match="chmod 600"):
        read_key_file(path)
    path.chmod(0o600)
    assert read_key_file(path).key == KEY
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(KeySlotError, match="cannot be read"):
        read_key_file(link)


def test_a_spoilt_key_ring_is_refused_without_quoting_it() -> None:
    text = format_key_ring(ring())
    secret = KEY.reveal().hex()
    for wrong in (text[:-20], text.replace(secret.encode(), secret[:-1].encode()), b"\xff"):
        with pytest.raises(KeySlotError) as caught:
            parse_key_ring(wrong, "the credential")
        assert secret[:16] not in str(caught.value)
        assert caught.value.__cause__ is None


def test_keys_of_another_length_are_refused() -> None:
    with pytest.raises(KeySlotError):
        SecretKey(bytes(31))
