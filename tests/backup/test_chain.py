"""Incrementals: nothing is lost between two backups, and a chain is whole or refused by name."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.backup.archive import ArchiveWriter, open_archive
from core.backup.chain import LONGEST, differences, fold, resolve
from core.backup.errors import BackupError, ChainError, MissingParentError, RecordError
from core.backup.header import BackupType
from core.backup.making import make
from core.backup.records import (
    AgentEntry,
    AnyRecord,
    Balance,
    Gone,
    Seed,
    Setting,
    WalletArchive,
    Whole,
    digest,
    encode,
    placed,
    position,
    sort_records,
)
from core.backup.runs import runs
from core.backup.state import Known
from core.backup.verify import RestoredChain, read_lines
from tests.backup.installation import KEY, Workshop, agent_records, installation, snapshot

FULL, INCREMENTAL = BackupType.FULL, BackupType.INCREMENTAL


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def restored(files: list[Path]) -> list[AnyRecord]:
    with RestoredChain(files, KEY) as chain:
        return list(chain.records())


def lines_of(path: Path) -> list[object]:
    with path.open("rb") as file:
        return [line for _, line in read_lines(open_archive(file, path.name, KEY))]


def test_changed_added_archived_and_removed_records_arrive(workshop: Workshop) -> None:
    before = installation(("alpha", "beta", "gamma"))
    workshop.make(before)
    after = sort_records([
        *(r for r in before if getattr(r, "agent", "") not in ("beta", "gamma")),
        *agent_records("beta", amount=7),
        *agent_records("delta"),
        WalletArchive(agent="gamma", archived_ms=Whole(5)),
    ])  # fmt: skip
    made = workshop.make(after)
    found = lines_of(made.path)
    assert made.sealed.header.type is INCREMENTAL
    changed = {
        (type(r).__name__, getattr(r, "agent", "")) for r in found if not isinstance(r, Gone)
    }
    assert changed == {
        ("Seed", ""), ("AgentEntry", "delta"), ("Wallet", "delta"), ("Lifecycle", "delta"),
        ("Balance", "beta"), ("Balance", "delta"), ("WalletArchive", "gamma"),
    }  # fmt: skip
    gone = {(r.of, r.key[0]) for r in found if isinstance(r, Gone)}
    assert gone == {(kind, "gamma") for kind in ("agent", "wallet", "lifecycle", "balance")}
    assert restored(workshop.files(made.sealed.header.id)) == after


def test_a_poll_that_changed_nothing_is_no_change_but_the_seed_travels(workshop: Workshop) -> None:
    workshop.make(installation())
    later = [
        msgspec.structs.replace(record, checked_ms=Whole(9), block=Whole(9))
        if isinstance(record, Balance)
        else record
        for record in installation()
    ]
    made = workshop.make(later)
    assert [type(line) for line in lines_of(made.path)] == [Seed]


def test_a_clock_set_back_loses_nothing_and_newest_is_still_newest(workshop: Workshop) -> None:
    workshop.make(installation(("alpha",)))
    workshop.now_ms -= 40 * 86_400_000
    made = workshop.make(installation(("alpha", "beta")))
    newest = next(iter(workshop.catalogue))
    assert newest.id == made.sealed.header.id
    assert newest.created_ms < workshop.catalogue.chain_of(newest.id)[0].created_ms
    assert restored(workshop.files(newest.id)) == installation(("alpha", "beta"))


def test_a_failed_run_in_between_is_not_built_upon(workshop: Workshop) -> None:
    full = workshop.make(installation(("alpha",)))
    failed = workshop.make(installation(("alpha", "beta")), durable=False)
    made = workshop.make(installation(("alpha", "beta", "gamma")))
    assert made.sealed.header.parent_id == full.sealed.header.id
    failed.path.unlink()
    assert restored(workshop.files(made.sealed.header.id)) == installation()


def test_the_newest_of_seven_is_restored_and_the_eighth_is_a_full(workshop: Workshop) -> None:
    for count in range(1, LONGEST + 1):
        agents = [f"agent-{number}" for number in range(count, count + 5)]
        made = workshop.make(installation(agents))
    files = workshop.files(made.sealed.header.id)
    assert len(files) == LONGEST
    assert restored(files) == installation(agents)
    eighth = workshop.make(installation(agents))
    assert eighth.sealed.header.type is FULL
    assert "7 archives" in eighth.note


def test_upon_a_chain_that_is_broken_nothing_is_built(workshop: Workshop) -> None:
    full = workshop.make(installation(("alpha",)))
    workshop.make(installation(("beta",)))
    workshop.catalogue = workshop.catalogue.without(full.sealed.header.id)
    made = workshop.make(installation(("gamma",)))
    assert made.sealed.header.type is FULL
    assert full.sealed.header.id in made.note


def test_a_missing_parent_is_refused_by_name(workshop: Workshop) -> None:
    workshop.make(installation(("alpha",)))
    middle = workshop.make(installation(("beta",)))
    newest = workshop.make(installation(("gamma",)))
    files = workshop.files(newest.sealed.header.id)
    missing = middle.sealed.header.id
    with pytest.raises(MissingParentError, match=missing):
        workshop.catalogue.without(missing).chain_of(newest.sealed.header.id)
    with (
        pytest.raises(ChainError, match=f"upon {missing}"),
        RestoredChain([files[0], files[2]], KEY),
    ):
        pass
    with pytest.raises(MissingParentError, match=missing), RestoredChain(files[2:], KEY):
        pass


def test_a_parent_of_the_same_name_with_other_content_is_refused(workshop: Workshop) -> None:
    full = workshop.make(installation(("alpha",)))
    child = workshop.make(installation(("beta",)))
    other = Workshop(workshop.folder / "other")
    other.folder.mkdir()
    forged = msgspec.structs.replace(full.sealed.header, salt="01" * 32)
    out = io.BytesIO()
    writer = ArchiveWriter(out, forged, KEY)
    for record in installation(("alpha",)):
        writer.write(encode(record))
    writer.finish()
    path = other.folder / full.path.name
    path.write_bytes(out.getvalue())
    with pytest.raises(ChainError, match="upon another"), RestoredChain([path, child.path], KEY):
        pass


def test_a_chain_of_two_installations_or_in_a_circle_is_refused(workshop: Workshop) -> None:
    workshop.make(installation(("alpha",)))
    made = workshop.make(installation(("beta",)))
    full, child = workshop.catalogue.chain_of(made.sealed.header.id)
    changed = msgspec.structs.replace
    for wrong in (
        {full.id: changed(full.link(), install_id="other"), child.id: child.link()},
        {full.id: changed(full.link(), parent_id=child.id), child.id: child.link()},
        {child.id: changed(child.link(), parent_id=child.id)},
    ):
        with pytest.raises(ChainError):
            resolve(wrong, child.id)
    with pytest.raises(ChainError, match="no backup"):
        workshop.catalogue.chain_of("unheard of")


def test_without_the_parents_state_the_next_backup_is_a_full(workshop: Workshop) -> None:
    for spoil in (Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1]), _flip):
        made = workshop.make(installation())
        spoil(made.state)
        after = workshop.make(installation())
        assert after.sealed.header.type is FULL
        assert "not known here any more" in after.note


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)


def test_a_run_that_fails_leaves_neither_archive_nor_state(workshop: Workshop) -> None:
    before = set(workshop.folder.iterdir())
    wrong = installation()[::-1]
    with pytest.raises(RecordError):
        workshop.make(wrong)
    good = snapshot(installation())
    for wrong_word, message in (
        (msgspec.structs.replace(good, seed_fingerprint=None), "go together"),
        (msgspec.structs.replace(good, wallet_count=4), "said 4 wallets and gave 3"),
    ):
        with pytest.raises(BackupError, match=message):
            make(workshop.folder, wrong_word, workshop.ring,
                 workshop.catalogue, FULL, workshop.now_ms)  # fmt: skip
    with pytest.raises(BackupError, match="cannot be written"):
        make(workshop.folder / "nowhere", snapshot(installation()), workshop.ring,
             workshop.catalogue, FULL, workshop.now_ms)  # fmt: skip
    assert set(workshop.folder.iterdir()) == before


names = st.sampled_from(["a", "aa", "b", "é", "\uffff", "\U0001f600"])
facts = st.one_of(
    st.builds(Setting, name=names, value=st.sampled_from(["1", "2"])),
    st.builds(
        AgentEntry,
        agent=names,
        state=st.sampled_from(["ACTIVE", "SUSPENDED"]),
        watch_only=st.booleans(),
        created_ms=st.just(Whole(1)),
    ),
)
states = st.lists(facts, max_size=8, unique_by=position).map(sort_records)


@settings(max_examples=300, deadline=None)
@given(st.lists(states, min_size=1, max_size=LONGEST))
def test_a_chain_folds_to_the_last_state_whatever_happened_before(
    history: list[list[AnyRecord]],
) -> None:
    known: list[Known] = []
    archives = []
    for state in history:
        archives.append(list(differences(known, runs(state, "x"))))
        known = [Known(position(record), digest(record)) for record in state]
    assert list(fold([placed(lines, "x") for lines in archives])) == history[-1]
