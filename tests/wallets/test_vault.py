"""The seed vault on disk: opened by its owner, refused when changed, never taken for absent."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from pathlib import Path

import msgspec
import pytest

from core.model import ChainKind, Secret
from core.store.sqlite import SqliteStore
from core.wallets import vault_file
from core.wallets.accounts import (
    DEFAULT_TEMPLATES,
    AccountsError,
    NoAccountsError,
    derive_accounts,
    read_accounts,
    write_accounts,
)
from core.wallets.attempts import TooSoonError, delay_s
from core.wallets.bip32 import DerivationError
from core.wallets.derivation import Deriver
from core.wallets.passwords import WeakPasswordError
from core.wallets.private_files import PrivateFileError
from core.wallets.secrets import Password, RecoveryKey
from core.wallets.seed import Seed, SeedError
from core.wallets.slots import Argon2Parameters, SlotRefusedError, WrongKeyError
from core.wallets.vault import NoSeedError, SeedPresentError, SeedVault, WrongPasswordError
from core.wallets.vault_file import VaultDamagedError
from tests.clock import TestClock
from tests.wallets.vaults import (
    PASSWORD,
    QUICK,
    TYPED,
    WRONG,
    KeptMemory,
    files_in,
    made_vault,
    vault_in,
)
from tests.wallets.vectors import ABANDON, JUNK

RECOVERY = RecoveryKey(bytes(range(32)))


def sealed() -> bytes:
    return vault_file.seal(Seed.from_words(Secret(ABANDON)), PASSWORD, RECOVERY, 7, QUICK)


async def test_password_and_recovery_key_each_bring_the_seed_back(tmp_path: Path) -> None:
    seed = Seed.generate()
    vault = vault_in(tmp_path)
    header = await vault.create(seed, TYPED, RECOVERY, parameters=QUICK)
    for key in (PASSWORD, RECOVERY):
        assert (await vault_in(tmp_path).unlock(key)).entropy == seed.entropy
    assert header.fingerprint == seed.fingerprint()
    assert [slot.kind for slot in header.slots] == ["password", "recovery"]
    assert seed.entropy.reveal() not in vault.path.read_bytes()


async def test_the_file_says_all_it_takes_to_open_it(tmp_path: Path) -> None:
    """Opened here by nothing but the published layout and the library's primitives."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    content = sealed()
    length = int.from_bytes(content[8:12])
    header = msgspec.json.decode(content[12 : 12 + length], type=vault_file.VaultHeader)
    slot = header.slots[0]
    assert slot.parameters is not None
    kdf = Argon2id(
        salt=slot.salt,
        length=32,
        iterations=slot.parameters.iterations,
        lanes=slot.parameters.lanes,
        memory_cost=slot.parameters.memory_kib,
    )
    bound = f"bursar key slot 1\0password\0seed vault {header.id}".encode()
    key = AESGCM(kdf.derive(PASSWORD.reveal())).decrypt(slot.nonce, slot.wrapped, bound)
    entropy = AESGCM(key).decrypt(header.nonce, content[12 + length : -32], content[: 12 + length])
    assert entropy == bytes(16)  # "abandon ... about"
    assert content[-32:] == hashlib.sha256(content[:-32]).digest()


async def test_the_file_is_private_and_nothing_else_is_left_beside_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        vault = await made_vault(tmp_path)
    finally:
        os.umask(old)
    assert sorted(files_in(tmp_path)) == ["accounts.json", "master-seed.enc"]
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert vault.exists()


async def test_a_wrong_password_is_said_clearly_and_writes_nothing(tmp_path: Path) -> None:
    vault = await made_vault(tmp_path)
    before = files_in(tmp_path)
    stamp = vault.path.stat().st_mtime_ns
    with pytest.raises(WrongPasswordError, match=r"password is wrong.*nothing was changed"):
        await vault.unlock(WRONG)
    with pytest.raises(WrongPasswordError, match="no recovery key"):
        await vault_in(tmp_path).unlock(RECOVERY)
    assert files_in(tmp_path) == before
    assert vault.path.stat().st_mtime_ns == stamp


def test_the_delay_doubles_up_to_five_minutes() -> None:
    assert [delay_s(n) for n in range(8)] == [0, 0, 1, 2, 4, 8, 16, 32]
    assert delay_s(20) == delay_s(10**9) == 300


async def test_the_delay_grows_over_restarts_and_ends_with_the_right_password(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "gen"
    folder.mkdir()
    await made_vault(folder)
    clock = TestClock()

    async def attempt(key: Password) -> Seed:
        """A fresh process each time: only what is on disk is remembered."""
        store = SqliteStore(tmp_path / "bursar.db", "node")
        await store.open()
        try:
            return await SeedVault(folder, store, clock).unlock(key)
        finally:
            await store.close()

    for wait_s in (0, 0, 1, 2, 4):
        if wait_s:
            with pytest.raises(TooSoonError, match=f"wait {wait_s} s") as caught:
                await attempt(PASSWORD)  # not even the right one is looked at
            assert caught.value.wait_s == wait_s
        await clock.advance(wait_s)
        with pytest.raises(WrongPasswordError):
            await attempt(WRONG)
    await clock.advance(8)
    await attempt(PASSWORD)
    with pytest.raises(WrongPasswordError):
        await attempt(WRONG)  # counted from the beginning again
    await attempt(PASSWORD)


async def test_a_clock_set_back_lengthens_no_wait(tmp_path: Path) -> None:
    memory, folder = KeptMemory(), tmp_path
    await made_vault(folder)
    for _ in range(2):
        with pytest.raises(WrongPasswordError):
            await SeedVault(folder, memory, TestClock()).unlock(WRONG)
    with pytest.raises(TooSoonError) as caught:
        await SeedVault(folder, memory, TestClock(start_ms=1_000)).unlock(WRONG)
    assert caught.value.wait_s == 1


async def test_attempts_at_once_count_one_by_one(tmp_path: Path) -> None:
    vault = await made_vault(tmp_path)
    tried = await asyncio.gather(*(vault.unlock(WRONG) for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(error, WrongPasswordError) for error in tried) == 2
    assert sum(isinstance(error, TooSoonError) for error in tried) == 4


def test_every_byte_flipped_is_refused_before_any_kdf_runs() -> None:
    content = sealed()
    began = time.process_time()
    for place in range(len(content)):
        for bit in (0x01, 0x80):
            broken = bytearray(content)
            broken[place] ^= bit
            with pytest.raises(VaultDamagedError):
                vault_file.parse(bytes(broken), "x")
    assert time.process_time() - began < 5  # of the processor: each KDF would add to it


def test_every_length_cut_and_anything_added_is_refused() -> None:
    content = sealed()
    for length in range(len(content)):
        with pytest.raises(VaultDamagedError):
            vault_file.parse(content[:length], "x")
    for longer in (content + b"\0", content + content):
        with pytest.raises(VaultDamagedError):
            vault_file.parse(longer, "x")


def test_every_byte_flipped_by_who_mends_the_checksum_is_refused_too() -> None:
    content = sealed()[:-32]
    for place in range(len(content)):
        broken = bytearray(content)
        broken[place] ^= 0x01
        forged = bytes(broken) + hashlib.sha256(broken).digest()
        for key in (RECOVERY, PASSWORD):
            with pytest.raises((VaultDamagedError, SlotRefusedError, WrongKeyError)):
                vault_file.unseal(vault_file.parse(forged, "x"), key, "x")


def test_a_file_of_a_later_format_is_named_as_such() -> None:
    content = sealed()
    with pytest.raises(VaultDamagedError, match="format 2"):
        vault_file.parse(b"BURSEED\x02" + content[8:], "x")


def test_insane_kdf_parameters_in_the_file_are_refused_before_they_run() -> None:
    content = sealed()
    length = int.from_bytes(content[8:12])
    header = content[12 : 12 + length].replace(b'"memoryKib":8192', b'"memoryKib":81920000')
    body = content[:8] + len(header).to_bytes(4) + header + content[12 + length : -32]
    with pytest.raises(SlotRefusedError, match="81920000"):
        vault_file.parse(body + hashlib.sha256(body).digest(), "x")


async def test_no_seed_yet_is_said_only_where_the_folder_was_read(tmp_path: Path) -> None:
    assert not vault_in(tmp_path).exists()
    with pytest.raises(NoSeedError, match="watch-only"):
        await vault_in(tmp_path).unlock(PASSWORD)
    unmounted = vault_in(tmp_path / "not-there")
    file_for_folder = vault_in(tmp_path / "file")
    (tmp_path / "file").write_text("")
    for vault in (unmounted, file_for_folder):
        with pytest.raises(PrivateFileError):
            vault.exists()
        with pytest.raises(PrivateFileError):
            vault.header()
        with pytest.raises(PrivateFileError):
            await vault.create(Seed.generate(), TYPED, parameters=QUICK)


@pytest.mark.parametrize("how", ["folder", "dangling link", "link", "fifo", "huge", "shared"])
async def test_a_vault_that_cannot_be_read_is_an_error_and_never_absence(
    tmp_path: Path, how: str
) -> None:
    vault = await made_vault(tmp_path)
    content = vault.path.read_bytes()
    vault.path.unlink()
    elsewhere = tmp_path / "elsewhere"
    if how == "folder":
        vault.path.mkdir()
    elif how == "fifo":
        os.mkfifo(vault.path)
    elif how == "huge":
        vault.path.write_bytes(content + bytes(100_000))
        vault.path.chmod(0o600)
    elif how == "shared":
        vault.path.write_bytes(content)
        vault.path.chmod(0o640)
    else:
        vault.path.symlink_to(elsewhere)
        if how == "link":
            elsewhere.write_bytes(content)
            elsewhere.chmod(0o600)
    assert vault.exists()
    with pytest.raises(PrivateFileError):
        await vault.unlock(PASSWORD)
    with pytest.raises(SeedPresentError):
        await vault.create(Seed.generate(), TYPED, parameters=QUICK)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
async def test_a_vault_of_another_user_is_refused(tmp_path: Path) -> None:
    vault = await made_vault(tmp_path)
    os.chown(vault.path, 12345, 12345)
    with pytest.raises(PrivateFileError, match="belongs to user 12345"):
        await vault.unlock(PASSWORD)


async def test_a_seed_is_never_overwritten_and_of_two_at_once_one_succeeds(tmp_path: Path) -> None:
    seeds = [Seed.generate() for _ in range(4)]
    made = await asyncio.gather(
        *(vault_in(tmp_path).create(seed, TYPED, parameters=QUICK) for seed in seeds),
        return_exceptions=True,
    )
    assert sum(isinstance(error, SeedPresentError) for error in made) == 3
    winner = next(
        s for s, header in zip(seeds, made, strict=True) if not isinstance(header, BaseException)
    )
    vault = vault_in(tmp_path)
    assert (await vault.unlock(PASSWORD)).entropy == winner.entropy
    assert vault.accounts() == derive_with_digest(winner, tmp_path)
    before = files_in(tmp_path)
    with pytest.raises(SeedPresentError, match="not touched"):
        await vault.create(Seed.generate(), TYPED, parameters=QUICK)
    assert files_in(tmp_path) == before


def derive_with_digest(seed: Seed, folder: Path) -> object:
    """The account keys of the seed as they read back from a file."""
    digest = read_accounts(folder).sha256
    return msgspec.structs.replace(derive_accounts(seed), sha256=digest)


async def test_a_weak_password_or_a_wrong_template_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(WeakPasswordError):
        await vault_in(tmp_path).create(Seed.generate(), Secret("short"), parameters=QUICK)
    with pytest.raises(DerivationError):
        await SeedVault(
            tmp_path, KeptMemory(), TestClock(), {ChainKind.EVM: "m/44'/60'/{index}'"}
        ).create(Seed.generate(), TYPED, parameters=QUICK)
    with pytest.raises(SlotRefusedError):
        await vault_in(tmp_path).create(
            Seed.generate(), TYPED, parameters=Argon2Parameters(memory_kib=1)
        )
    assert files_in(tmp_path) == {}


async def test_typed_words_are_proved_to_be_this_seed_without_a_password(tmp_path: Path) -> None:
    vault = await made_vault(tmp_path)
    before = files_in(tmp_path)
    assert await vault.verify(Secret(ABANDON.upper()))
    assert not await vault.verify(Secret(JUNK))
    with pytest.raises(SeedError, match="word 2"):
        await vault.verify(Secret("abandon abuot " + "abandon " * 9 + "about"))
    assert files_in(tmp_path) == before


async def test_rekey_keeps_the_seed_and_ends_the_old_password_and_recovery_key(
    tmp_path: Path,
) -> None:
    vault = vault_in(tmp_path)
    seed = Seed.generate()
    await vault.create(seed, TYPED, RECOVERY, parameters=QUICK)
    old = vault.path.read_bytes()
    new = Secret("marble-otter-violin-cactus-north")
    with pytest.raises(WeakPasswordError):
        await vault.rekey(PASSWORD, Secret("weak"), parameters=QUICK)
    assert vault.path.read_bytes() == old
    await vault.rekey(RECOVERY, new, RecoveryKey.generate(), parameters=QUICK)
    assert (await vault.unlock(Password(new))).entropy == seed.entropy
    for key in (PASSWORD, RECOVERY):
        with pytest.raises(WrongPasswordError):
            await vault_in(tmp_path).unlock(key)
    assert vault_file.unseal(vault_file.parse(old, "copy"), PASSWORD, "copy").entropy == (
        seed.entropy
    )  # what the documentation says of copies


@pytest.mark.parametrize("how", ["missing", "cut", "flipped", "of another seed"])
async def test_lost_account_keys_come_back_when_the_vault_is_unlocked(
    tmp_path: Path, how: str
) -> None:
    vault = await made_vault(tmp_path)
    path = tmp_path / "accounts.json"
    whole = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(whole[:-20])
    elif how == "flipped":
        path.write_bytes(whole.replace(b"/60'", b"/61'"))
    else:
        write_accounts(tmp_path, derive_accounts(Seed.generate()))
    with pytest.raises(NoAccountsError):
        vault.accounts()
    await vault.unlock(PASSWORD)
    assert path.read_bytes() == whole


def test_every_byte_of_the_account_keys_flipped_is_noticed(tmp_path: Path) -> None:
    write_accounts(tmp_path, derive_accounts(Seed.from_words(Secret(ABANDON))))
    path = tmp_path / "accounts.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(NoAccountsError):
            read_accounts(tmp_path)


async def test_account_keys_swapped_for_somebody_elses_are_found_at_the_next_unlock(
    tmp_path: Path,
) -> None:
    vault = await made_vault(tmp_path)
    theirs = derive_accounts(Seed.from_words(Secret(JUNK)))
    forged = msgspec.structs.replace(theirs, fingerprint=vault.header().fingerprint)
    write_accounts(tmp_path, forged)
    with pytest.raises(AccountsError, match="not this seed's"):
        await vault.unlock(PASSWORD)
    assert read_accounts(tmp_path).keys == theirs.keys  # evidence is not overwritten


async def test_new_path_templates_are_added_and_old_addresses_still_derive(tmp_path: Path) -> None:
    await made_vault(tmp_path)
    changed = {**DEFAULT_TEMPLATES, ChainKind.EVM: "m/44'/60'/2'/0/{index}"}
    vault = SeedVault(tmp_path, KeptMemory(), TestClock(), changed)
    old = Deriver(vault.accounts()).derive(ChainKind.EVM, 3)
    await vault.unlock(PASSWORD)
    deriver = Deriver(vault.accounts())
    assert deriver.derive(ChainKind.EVM, 3).path == "m/44'/60'/2'/0/3"
    assert deriver.address_at(ChainKind.EVM, old.path) == old.address
    assert len(vault.accounts().keys) == 4
    await vault.unlock(PASSWORD)
    assert len(vault.accounts().keys) == 4


async def test_account_keys_that_cannot_be_written_are_named_and_come_with_the_next_unlock(
    tmp_path: Path,
) -> None:
    vault = vault_in(tmp_path)
    (tmp_path / "accounts.json").mkdir()
    with pytest.raises(PrivateFileError, match=r"accounts\.json"):
        await vault.create(Seed.generate(), TYPED, parameters=QUICK)
    (tmp_path / "accounts.json").rmdir()
    await vault.unlock(PASSWORD)
    assert vault.accounts().fingerprint == vault.header().fingerprint
