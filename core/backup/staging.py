"""A restore up to the point of no return: a new generation, built and proven beside the one in use.

Everything happens in a folder of its own inside the data directory, under a name that nothing
takes for a generation. Whatever fails, the folder is removed and nothing else was touched.
All of it blocks: call it in a thread.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from core.backup.archive import open_with
from core.backup.building import Built, build_installation
from core.backup.comparing import Comparison, Difference, compare
from core.backup.errors import BackupError
from core.backup.header import Header
from core.backup.installation import LEDGER_FOLDER, read_installation
from core.backup.keyring import KeyRing
from core.backup.proof import Proven, prove_addresses, prove_seed
from core.backup.records import AnyRecord
from core.backup.source import Note
from core.backup.verify import RestoredChain
from core.config import Settings
from core.ledger.check import check
from core.ledger.files import RealFolder
from core.model import Secret
from core.wallets.secrets import Opener, opener

STAGE_PREFIX = "restore-"
GENERATION = "generation"
KEEP, CHECKPOINT = "keep", "checkpoint"


class LedgerChoice(msgspec.Struct, frozen=True):
    """Which ledger the restored installation goes on with. `keeps`: the running one is carried
    over; `builds`: the backup's checkpoint is used. `said` is it in words, `warning` why it is not
    what was asked for."""

    keeps: bool
    builds: bool
    said: str
    warning: str = ""


class Staged(msgspec.Struct, frozen=True):
    """A restore that can be applied. `generation` is whole and durable; `unproven` says why the
    seed could not be opened, "" where it was. `ring` is the backup's key with its slots."""

    folder: Path
    files: tuple[Path, ...]
    generation: Path
    header: Header
    ring: KeyRing
    built: Built
    proven: Proven
    unproven: str
    ledger: LedgerChoice
    differences: tuple[Difference, ...]


class UnlockedChain(msgspec.Struct, frozen=True):
    """Archives, full first, with the key that opens them all and the newest one's slots. `opener`
    is what a person gave, None where the engine's own key did it."""

    files: tuple[Path, ...]
    ring: KeyRing
    opener: Opener | None = None


def unlock_chain(files: Sequence[Path], secret: Secret) -> UnlockedChain:
    """Open the newest archive with a password or a recovery key; after a rekey its parents may
    have been sealed under another password, and the key is the same. Raises WrongKeyError,
    KeySlotError, DamagedArchiveError, NotAnArchiveError."""
    found = opener(secret)
    newest = files[-1]
    with newest.open("rb") as file:
        archive, key = open_with(file, newest.name, found)
        header = archive.header
    return UnlockedChain(tuple(files), KeyRing(header.install_id, key, header.slots), found)


def stage(
    chain: UnlockedChain,
    folder: Path,
    present: Path | None,
    settings: Settings,
    ledger: str,
    note: Note,
) -> Staged:
    """Build the generation of a chain in `folder`, prove it, and compare it with the generation
    `present` (None: there is nothing yet). Raises BackupError and what the parts raise."""
    generation = folder / GENERATION
    note("decrypting", 0, 0, "")
    with ExitStack() as stack:
        restored = stack.enter_context(RestoredChain(chain.files, chain.ring.key, staging=True))
        choice = choose_ledger(present, settings, ledger)
        before: Iterator[AnyRecord] = iter(())
        if present is not None:
            snapshot = stack.enter_context(read_installation(present, settings, ledger=False))
            before = iter(snapshot.records)
        comparison = Comparison(before)
        records = restored.records() if present is None else comparison.through(restored.records())
        built = build_installation(
            records,
            generation,
            ledger=not choice.keeps,
            note=lambda kind, count: note(f"writing {kind} records", count, 0, "records"),
        )
        header = restored.header
    proven = prove_addresses(
        generation, lambda done, total: note("deriving addresses", done, total, "addresses")
    )
    unproven = "no password was given"
    if chain.opener is not None:
        note("opening the seed", 0, 0, "")
        unproven = prove_seed(generation, chain.opener)
    choice = _after_building(choice, built, settings)
    return Staged(
        folder,
        chain.files,
        generation,
        header,
        chain.ring,
        built,
        proven,
        unproven,
        choice,
        comparison.differences(),
    )


def compare_again(
    staged: Staged, present: Path | None, settings: Settings
) -> tuple[Difference, ...]:
    """What the staged restore would change now."""
    with ExitStack() as stack:
        restored = stack.enter_context(RestoredChain(staged.files, staged.ring.key, staging=True))
        before: Iterator[AnyRecord] = iter(())
        if present is not None:
            snapshot = stack.enter_context(read_installation(present, settings, ledger=False))
            before = iter(snapshot.records)
        return compare(before, restored.records())


def choose_ledger(present: Path | None, settings: Settings, wanted: str) -> LedgerChoice:
    """Which ledger it will be, before the backup's checkpoint is known. Raises BackupError for a
    word that is none."""
    if wanted not in (KEEP, CHECKPOINT):
        raise BackupError(f'The ledger is "keep" or "checkpoint", not {wanted!r}.')
    if settings.ledger.tigerbeetle.cluster_id is not None:
        return LedgerChoice(False, False, "on the TigerBeetle cluster, which is not touched")
    folder = None if present is None else present / LEDGER_FOLDER
    if folder is None or not folder.is_dir():
        return LedgerChoice(False, True, "")
    report = check(RealFolder(folder))
    if report.damage:
        first = report.damage[0]
        reason = f"The running ledger is damaged ({first.file} at byte {first.offset})"
        return LedgerChoice(False, True, "", f"{reason}; it stays in the generation before.")
    if not report.accounts:
        return LedgerChoice(False, True, "")
    said = f"{report.accounts:,} accounts and {report.transfers:,} transfers"
    if wanted == CHECKPOINT:
        return LedgerChoice(False, True, "", f"The running ledger ({said}) is left behind.")
    return LedgerChoice(True, False, f"the running one is kept ({said})")


def _after_building(choice: LedgerChoice, built: Built, settings: Settings) -> LedgerChoice:
    if not choice.builds or choice.said:
        return choice
    if built.checkpoint is None:
        said = "a new, empty one: the backup holds none"
        return msgspec.structs.replace(choice, builds=False, said=said)
    said = f"the backup's checkpoint at record {built.checkpoint:,}"
    return msgspec.structs.replace(choice, said=said)


@contextmanager
def scratch(data_path: Path, name: str) -> Iterator[Path]:
    """A new folder for staging, removed where the block fails."""
    folder = data_path / f"{STAGE_PREFIX}{name}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def sync_tree(folder: Path) -> None:
    """Make every file and name below a folder, and the folder, durable."""
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(Path(root) / name, os.O_RDONLY)
        _sync(Path(root), os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
