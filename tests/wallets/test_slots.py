"""Key slots: what opens them, what does not, and what is refused before it costs anything."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.model import Secret
from core.wallets.secrets import Password, RecoveryKey, RecoveryKeyError, SecretBytes, opener
from core.wallets.slots import (
    Argon2Parameters,
    Slot,
    SlotRefusedError,
    WrongKeyError,
    unwrap,
    wrap,
)
from tests.wallets.vaults import PASSWORD, QUICK, WRONG

KEY = SecretBytes(bytes(range(32)))
HERE = b"backup 1"


def test_a_password_and_a_recovery_key_each_open_the_same_key() -> None:
    recovery = RecoveryKey.generate()
    slots = [wrap(KEY, PASSWORD, HERE, QUICK), wrap(KEY, recovery, HERE)]
    slots = msgspec.json.decode(msgspec.json.encode(slots), type=list[Slot])
    assert unwrap(slots, PASSWORD, HERE) == KEY
    assert unwrap(slots, recovery, HERE) == KEY


def test_neither_a_wrong_password_nor_a_wrong_recovery_key_opens_a_slot() -> None:
    slots = [wrap(KEY, PASSWORD, HERE, QUICK), wrap(KEY, RecoveryKey.generate(), HERE)]
    with pytest.raises(WrongKeyError, match="password is wrong"):
        unwrap(slots, WRONG, HERE)
    with pytest.raises(WrongKeyError, match="recovery key is wrong"):
        unwrap(slots, RecoveryKey.generate(), HERE)
    with pytest.raises(WrongKeyError, match="made without one"):
        unwrap(slots[:1], RecoveryKey.generate(), HERE)


def test_a_slot_moved_to_another_file_opens_nothing() -> None:
    slots = [wrap(KEY, PASSWORD, HERE, QUICK)]
    with pytest.raises(WrongKeyError):
        unwrap(slots, PASSWORD, b"backup 2")


def test_the_same_key_never_wraps_to_the_same_slot() -> None:
    first, second = (wrap(KEY, PASSWORD, HERE, QUICK) for _ in range(2))
    assert first.salt != second.salt
    assert first.nonce != second.nonce
    assert first.wrapped != second.wrapped


def test_passwords_cost_64_mib_three_passes_and_four_lanes_unless_told_otherwise() -> None:
    slot = wrap(KEY, PASSWORD, HERE)
    assert slot.parameters == Argon2Parameters(memory_kib=65_536, iterations=3, lanes=4)
    assert unwrap([slot], PASSWORD, HERE) == KEY


def test_the_wrapping_key_is_argon2id_as_rfc_9106_has_it() -> None:
    """Opened with nothing but the primitives, as a stand-alone opener would."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    slot = wrap(KEY, PASSWORD, HERE, QUICK)
    kdf = Argon2id(salt=slot.salt, length=32, iterations=1, lanes=1, memory_cost=8192)
    wrapping = kdf.derive("gravel-omen-canary-tulip-seventh-Zürich".encode())
    bound = b"bursar key slot 1\0password\0" + HERE
    assert AESGCM(wrapping).decrypt(slot.nonce, slot.wrapped, bound) == KEY.reveal()


@pytest.mark.parametrize(
    "parameters",
    [
        Argon2Parameters(memory_kib=2**40),
        Argon2Parameters(memory_kib=1024 * 1024 + 1),
        Argon2Parameters(memory_kib=8 * 1024 - 1),
        Argon2Parameters(memory_kib=-1),
        Argon2Parameters(iterations=0),
        Argon2Parameters(iterations=2**31),
        Argon2Parameters(lanes=0),
        Argon2Parameters(lanes=17),
    ],
)
def test_insane_parameters_are_refused_before_they_run(parameters: Argon2Parameters) -> None:
    slot = msgspec.structs.replace(wrap(KEY, PASSWORD, HERE, QUICK), parameters=parameters)
    began = time.process_time()
    with pytest.raises(SlotRefusedError, match="not run"):
        unwrap([slot], PASSWORD, HERE)
    with pytest.raises(SlotRefusedError):
        wrap(KEY, PASSWORD, HERE, parameters)
    assert time.process_time() - began < 0.2  # of the processor: the least KDF takes more


def test_slots_that_no_sane_file_has_are_refused_whoever_asks() -> None:
    good = wrap(KEY, PASSWORD, HERE, QUICK)
    recovery = RecoveryKey.generate()
    other = wrap(KEY, recovery, HERE)
    replace = msgspec.structs.replace
    for slots in (
        [],
        [good, good],
        [replace(good, salt=b"")],
        [replace(good, nonce=good.nonce + b"x")],
        [replace(good, wrapped=good.wrapped[:-1])],
        [replace(good, parameters=None)],
        [replace(good, kdf="hkdf-sha256")],
        [replace(good, kind="recovery")],
        [other, replace(good, salt=b"")],  # the one that would open is whole
    ):
        with pytest.raises(SlotRefusedError):
            unwrap(slots, recovery, HERE)


def test_a_password_is_the_same_however_its_letters_were_composed() -> None:
    assert Password(Secret("Zu\u0308rich ﬁne")) == Password(Secret("Zürich fine"))
    assert Password(Secret("a b")) != Password(Secret("a  b"))
    assert Password(Secret("\udc80")).reveal()  # what a terminal makes of a wrong byte


def test_a_recovery_key_survives_being_written_down() -> None:
    key = RecoveryKey.generate()
    text = key.text().reveal()
    assert [len(group) for group in text.split("-")] == [4] * 14
    for typed in (text, text.lower(), text.replace("-", " "), f"  {text.replace('-', '')}\n"):
        assert RecoveryKey.parse(Secret(typed)) == key
    assert RecoveryKey.parse(Secret(text.replace("O", "0").replace("I", "1"))) == key


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 55), letter=st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_one_mistyped_letter_of_a_recovery_key_is_noticed(place: int, letter: str) -> None:
    key = RecoveryKey(bytes(range(32)))
    letters = list(key.text().reveal().replace("-", ""))
    if letters[place] == letter:
        return
    letters[place] = letter
    with pytest.raises(RecoveryKeyError, match="mistyped"):
        RecoveryKey.parse(Secret("".join(letters)))


def test_one_field_takes_either_and_a_mistyped_recovery_key_is_no_key() -> None:
    key = RecoveryKey.generate()
    assert opener(key.text()) == key
    assert opener(Secret("correct horse")) == Password(Secret("correct horse"))
    assert isinstance(opener(Secret("")), Password)


def test_no_secret_shows_in_any_text_of_itself() -> None:
    import pickle

    for secret in (PASSWORD, RecoveryKey.generate(), KEY):
        shown = f"{secret} {secret!r} {[secret]} {secret:>40}"
        assert secret.reveal().hex() not in shown
        assert "canary" not in shown
        with pytest.raises(TypeError):
            pickle.dumps(secret)
        with pytest.raises(TypeError):
            msgspec.json.encode(secret)
        with pytest.raises(TypeError):
            hash(secret)
