"""What an installation holds, as records and back: nothing of it changes on the way."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from core.backup.building import build_installation
from core.backup.errors import ChainError
from core.backup.header import BackupType
from core.backup.installation import read_installation
from core.backup.records import (
    KINDS,
    AgentEntry,
    AnyRecord,
    AssetEntry,
    Balance,
    ChainEntry,
    LedgerCheckpoint,
    Setting,
    Wallet,
    Whole,
    sort_records,
)
from core.backup.verify import RestoredChain
from core.config import hidden_in, load_settings, settings_text
from core.ledger import EmbeddedLedger, Transfer
from core.ledger.checkpoint import Checkpoint, write_checkpoint
from core.ledger.types import LedgerError
from core.store.protocol import StoreError
from core.wallets.accounts import DEFAULT_TEMPLATES, Accounts, read_accounts, write_accounts
from tests.backup.generations import book, make_generation, rebuilt, records_of, settings
from tests.backup.installation import Workshop


@pytest.fixture
def generation(tmp_path: Path) -> Path:
    path = tmp_path / "gen-0001"
    asyncio.run(make_generation(path))
    return path


def test_an_installation_and_what_is_built_of_its_records_have_the_same_records(
    tmp_path: Path, generation: Path
) -> None:
    before = records_of(generation, settings(tmp_path))
    assert {type(record) for record in before} == set(KINDS)
    assert before == sort_records(before)
    rebuilt(before, tmp_path / "gen-0002")
    assert records_of(tmp_path / "gen-0002", settings(tmp_path)) == before


def test_seed_and_account_keys_are_the_same_files_again(tmp_path: Path, generation: Path) -> None:
    rebuilt(records_of(generation, settings(tmp_path)), tmp_path / "gen-0002")
    for name in ("master-seed.enc", "accounts.json"):
        assert (tmp_path / "gen-0002" / name).read_bytes() == (generation / name).read_bytes()
        assert (tmp_path / "gen-0002" / name).stat().st_mode & 0o777 == 0o600


def test_templates_of_before_stay_before_the_one_for_new_addresses(
    tmp_path: Path, generation: Path
) -> None:
    kept = read_accounts(generation)
    zebra = msgspec.structs.replace(kept.keys[0], template="m/44'/60'/9'/0/{index}")
    write_accounts(generation, Accounts(kept.fingerprint, (zebra, *kept.keys)))
    rebuilt(records_of(generation, settings(tmp_path)), tmp_path / "gen-0002")
    again = read_accounts(tmp_path / "gen-0002")
    assert again.current(zebra.kind).template == DEFAULT_TEMPLATES[zebra.kind]
    assert set(again.keys) == {zebra, *kept.keys}


async def _balances(folder: Path) -> tuple[int, int]:
    ledger = EmbeddedLedger(folder)
    await ledger.open()
    try:
        assert not ledger.health().notices
        balance = await ledger.get_account_balance(2)
        return balance.debits, balance.credits
    finally:
        await ledger.close()


def test_the_ledger_goes_on_from_its_checkpoint(tmp_path: Path, generation: Path) -> None:
    rebuilt(records_of(generation, settings(tmp_path)), tmp_path / "gen-0002")
    assert asyncio.run(_balances(tmp_path / "gen-0002" / "ledger")) == (0, 1 + 2 + 3 + 4)
    asyncio.run(book(tmp_path / "gen-0002", 1, first=5))
    assert asyncio.run(_balances(tmp_path / "gen-0002" / "ledger")) == (0, 15)


def test_a_checkpoint_is_taken_beside_a_ledger_that_commits(tmp_path: Path) -> None:
    async def run() -> list[tuple[int, int]]:
        folder = tmp_path / "gen" / "ledger"
        folder.parent.mkdir()
        await book(tmp_path / "gen", 3)
        taken = []
        ledger = EmbeddedLedger(folder)
        await ledger.open()
        try:
            for number in range(3):
                with Checkpoint(folder) as checkpoint:
                    await ledger.snapshot()  # what it has open may be trimmed meanwhile
                    copy = tmp_path / f"copy-{number}"
                    content = checkpoint.content(1000)
                    assert write_checkpoint(copy, content) == checkpoint.sequence
                taken.append(await _balances(copy))
                await ledger.create_transfers([_transfer(10 + number)])
        finally:
            await ledger.close()
        return taken

    assert asyncio.run(run()) == [(0, 6), (0, 16), (0, 27)]


def _transfer(number: int) -> Transfer:
    return Transfer(
        id=number, debit_account_id=1, credit_account_id=2, amount=number, ledger=1, code=1
    )


def test_a_torn_record_at_the_end_of_the_journal_is_left_out(
    tmp_path: Path, generation: Path
) -> None:
    journal = sorted((generation / "ledger").glob("journal-*.log"))[-1]
    with journal.open("ab") as file:
        file.write(b"BUR")
    rebuilt(records_of(generation, settings(tmp_path)), tmp_path / "gen-0002")
    assert asyncio.run(_balances(tmp_path / "gen-0002" / "ledger")) == (0, 10)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"nonsense\n", b'[["../engine.lock", 1]]\nx', b"[]\nx"],
    ids=["nothing", "no end", "no list", "a name elsewhere", "something after"],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(LedgerError):
        write_checkpoint(tmp_path / "ledger", [content])


def test_a_checkpoint_in_many_parts_is_put_together(tmp_path: Path, generation: Path) -> None:
    asyncio.run(book(generation, 300, first=100))
    before = records_of(generation, settings(tmp_path))
    parts = [record for record in before if isinstance(record, LedgerCheckpoint)]
    whole = b"".join(part.content for part in parts)
    cut: list[AnyRecord] = [
        msgspec.structs.replace(parts[0], part=type(parts[0].part)(n), content=whole[at : at + 999])
        for n, at in enumerate(range(0, len(whole), 999))
    ]
    rest: list[AnyRecord] = [r for r in before if not isinstance(r, LedgerCheckpoint)]
    many = sort_records(rest + cut)
    rebuilt(many, tmp_path / "gen-0002")
    assert asyncio.run(_balances(tmp_path / "gen-0002" / "ledger"))[1] == 10 + sum(range(100, 400))


def test_settings_come_back_as_a_file_without_secrets(tmp_path: Path, generation: Path) -> None:
    of = settings(tmp_path)
    sections = {
        record.name: msgspec.json.decode(record.value)
        for record in records_of(generation, of)
        if isinstance(record, Setting)
    }
    text = settings_text(sections)
    for word in ("s3cr3t", "word", "data_dir"):
        assert word not in text
    (tmp_path / "again.toml").write_text(text)
    again = load_settings(str(tmp_path / "again.toml"), {"BASE_KEY": "other"})
    assert again.chain[0].endpoints == ("http://127.0.0.1:1/other", "http://***@127.0.0.1:2")
    plain = {"source": "", "chain": ()}
    assert msgspec.structs.replace(again, **plain) == msgspec.structs.replace(of, **plain)
    assert hidden_in(sections) == ["chain.base.endpoints"]
    assert hidden_in({"chain": [{"name": "base", "endpoints": ["https://x/***"]}]}) == [
        "chain.base.endpoints"
    ]


def test_records_that_name_what_is_not_there_build_nothing(
    tmp_path: Path, generation: Path
) -> None:
    before = records_of(generation, settings(tmp_path))
    with pytest.raises(ChainError):
        rebuilt(before[::-1], tmp_path / "gen-0002")
    no_chain = [record for record in before if record.RANK != 3]
    with pytest.raises(StoreError, match="there is no chain"):
        rebuilt(no_chain, tmp_path / "gen-0003")


def test_an_incremental_upon_a_full_gives_the_same_installation(
    tmp_path: Path, generation: Path
) -> None:
    shop = Workshop(tmp_path / "spool")
    shop.folder.mkdir()
    of = settings(tmp_path)
    shop.make(records_of(generation, of), BackupType.FULL)
    asyncio.run(book(generation, 2, first=50))
    now = records_of(generation, of)
    made = shop.make(now)
    with RestoredChain(shop.files(made.sealed.header.id), shop.ring.key) as chain:
        build_installation(chain.records(), tmp_path / "gen-0002")
    assert records_of(tmp_path / "gen-0002", of) == now


def test_the_snapshot_is_of_one_moment(tmp_path: Path, generation: Path) -> None:
    of = settings(tmp_path)
    before = records_of(generation, of)
    with read_installation(generation, of) as snapshot:
        records = iter(snapshot.records)
        early = [next(records)]
        with sqlite3.connect(generation / "bursar.db") as db:
            db.execute("DELETE FROM wallet_balances WHERE wallet_id = 'watched'")
        asyncio.run(book(generation, 1, first=70))
        assert early + list(records) == before
    assert records_of(generation, of) != before


def test_a_large_fleet_is_read_and_built_with_little_memory(tmp_path: Path) -> None:
    count = int(os.environ.get("BURSAR_TEST_FLEET", "20000"))

    def fleet() -> Iterator[AnyRecord]:
        yield ChainEntry(name="base", chain_kind="evm")
        yield AssetEntry(chain="base", symbol="ETH", name="Ether", decimals=Whole(18))
        for n in range(count):
            yield AgentEntry(agent=f"agent-{n:07d}", state="ACTIVE", watch_only=True,
                             created_ms=Whole(1))  # fmt: skip
        for n in range(count):
            yield Wallet(agent=f"agent-{n:07d}", chain="base", address=f"0x{n:040x}")
        for n in range(count):
            yield Balance(agent=f"agent-{n:07d}", chain="base", symbol="ETH", amount=Whole(n))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    build_installation(fleet(), tmp_path / "gen-0001")
    with read_installation(tmp_path / "gen-0001", settings(tmp_path)) as snapshot:
        assert snapshot.wallet_count == count
        assert sum(isinstance(record, Balance) for record in snapshot.records) == count
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    assert grown < 200, f"{grown} MiB for {count} wallets"
