"""Every copy of a chain fetched, decrypted and checked: what `bursar backup verify` does.

A copy that does not stand the proof spoils no other: each is told of by itself.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from core.backup.archive import open_archive
from core.backup.catalogue import Entry
from core.backup.errors import BackupError
from core.backup.maker import Maker, Progress
from core.backup.verify import verify
from core.wallets.secrets import SecretBytes


class Proof(msgspec.Struct, frozen=True):
    """What a verification found: archives of the chain, copies that are sound, and in words what
    is not, or could not be read."""

    chain: tuple[Entry, ...]
    sound: int
    unproven: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether each archive of the chain has a sound copy."""
        return all(entry.verified_ms for entry in self.chain) and self.sound >= len(self.chain)


async def prove(
    maker: Maker, entry: Entry, key: SecretBytes, now_ms: int, progress: Progress
) -> Proof:
    """Fetch every copy of the archive and of all it was made upon, and decrypt and check it.

    Raises BackupError where the chain is not whole, or an archive has no sound copy.
    """
    chain = maker.stock.catalogue.chain_of(entry.id)
    copies = [(link, name) for link in chain for name, c in link.copies.items() if c.is_there]
    progress.stage("decrypting and checking", len(copies), "copies")
    sound: dict[str, int] = {link.id: 0 for link in chain}
    problems: list[str] = []
    for link, name in copies:
        if name in maker.write_only:
            problems.append(f"{name}: {link.name} was not read: its credential may only write")
        elif name not in maker.destinations:
            problems.append(f"{name}: {link.name} was not read: no such destination is configured")
        else:
            try:
                await _prove_copy(maker, link, name, key)
                sound[link.id] += 1
            except BackupError as error:
                problems.append(f"{name}: {str(error).removeprefix(f'{name}: ')}")
        progress.advance()
    after = []
    for link in chain:
        if sound[link.id]:
            current = maker.stock.catalogue.get(link.id) or link
            await maker.stock.save(msgspec.structs.replace(current, verified_ms=now_ms))
        after.append(maker.stock.catalogue.get(link.id) or link)
    if lacking := [link.id for link in chain if not sound[link.id]]:
        raise BackupError(
            f"Backup {lacking[0]} has no copy that could be proven: {'; '.join(problems)}"
        )
    return Proof(tuple(after), sum(sound.values()), tuple(problems))


async def _prove_copy(maker: Maker, entry: Entry, name: str, key: SecretBytes) -> None:
    with maker.stock.scratch("verify") as folder:
        path = Path(folder) / entry.name
        await maker.destinations[name].fetch(entry.name, path)
        await asyncio.to_thread(_check, path, entry, key)


def _check(path: Path, entry: Entry, key: SecretBytes) -> None:
    with path.open("rb") as file:
        verify(open_archive(file, path.name, key), entry.sha256)
