"""What `bursar doctor` says of backups: the key, every destination, the last backup, the schedule.

A destination is written to, because that is what must work: a note named `bursar-doctor.txt`,
which is taken away again where that is allowed.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress

from core.backup import schedule, standing
from core.backup.configured import build_destination, key_source, location_of
from core.backup.errors import BackupError, DestinationError
from core.backup.keyring import KeyRing
from core.backup.stock import Stock
from core.clock import SystemClock
from core.config import DestinationSettings, Settings
from core.config.backup_checks import places
from core.engine.backup_views import slot_words
from core.engine.verdicts import Check, Verdict
from core.events import iso_utc

PROBE = "bursar-doctor.txt"
_LIMIT_S = 20.0
_SETUP = "`bursar backup setup` makes it; without it there are no backups."


async def backup_checks(settings: Settings) -> list[Check]:
    """All of it; destinations side by side."""
    key, ring = await asyncio.to_thread(_key, settings)
    found = await asyncio.gather(*(_destination(place) for place in places(settings)))
    checks = [key, *found]
    if ring is not None:
        checks += await _backups(settings, ring.install_id)
    return checks


def _key(settings: Settings) -> tuple[Check, KeyRing | None]:
    source = key_source(settings)
    if not source.exists():
        return Check("backup key", Verdict.NOTE, f"none at {source.said}", _SETUP), None
    try:
        ring = source.read()
    except BackupError as error:
        advice = "No backup is made before it can be read."
        return Check("backup key", Verdict.BAD, str(error), advice), None
    ways = " or ".join(slot_words(slot.kind for slot in ring.slots))
    return Check("backup key", Verdict.GOOD, f"{source.said}, opened by {ways}"), ring


async def _destination(place: DestinationSettings) -> Check:
    name = f"backup destination {place.name}"
    advice = "Check path or URL, credentials and network; backups wait until it works."
    try:
        async with asyncio.timeout(_LIMIT_S):
            return Check(name, Verdict.GOOD, await _tried(place))
    except TimeoutError:
        reason = f"{location_of(place)}: no answer in {_LIMIT_S:.0f} s"
        return Check(name, Verdict.BAD, reason, advice)
    except DestinationError as error:
        return Check(name, Verdict.BAD, str(error), advice)


async def _tried(place: DestinationSettings) -> str:
    destination = build_destination(place)
    await destination.prepare()
    count = ""
    if not place.write_only:
        archives = [f for f in await destination.list() if f.name.endswith(".bursar")]
        count = f", {len(archives):,} backups"
    await destination.put_note(PROBE, f"written by bursar doctor {secrets.token_hex(4)}\n".encode())
    if not place.write_only:
        with suppress(DestinationError):  # deleting may be left to another credential
            await destination.delete(PROBE)
    read = "can be written" if place.write_only else "can be read and written"
    return f"{location_of(place)} {read}{count}"


async def _backups(settings: Settings, install_id: str) -> list[Check]:
    stock, backup, now_ms = Stock(settings.data_path), settings.backup, SystemClock().now_ms()
    try:
        await stock.open((), writes=False)
    except BackupError as error:
        return [Check("backups", Verdict.BAD, str(error), "Check owner and mode.")]
    catalogue = stock.catalogue
    checks = [Check("backup catalogue", Verdict.NOTE, problem) for problem in stock.problems]
    newest = catalogue.newest_durable(install_id)
    trouble = standing.trouble(catalogue, install_id, backup, stock.memory, 0, now_ms)
    if newest is None:
        found = "there is none yet"
        if stock.memory.failures:
            found = trouble
        advice = "`bursar backup create` makes one; the engine does so by its schedule."
        verdict = Verdict.BAD if stock.memory.failures else Verdict.NOTE
        checks.append(Check("backups", verdict, found, advice))
    else:
        drilled_ms = standing.last_drilled_ms(catalogue, install_id)
        found = (
            f"{len(catalogue):,}, the newest of {iso_utc(newest.created_ms)}, "
            f"{'verified' if newest.verified_ms else 'not verified'}; "
            f"last drill {iso_utc(drilled_ms) if drilled_ms else 'never'}"
        )
        checks.append(Check("backups", Verdict.GOOD, found))
        if trouble:
            advice = "Run `bursar backup run-due`, or the engine, and look at what it says."
            checks.append(Check("backups", Verdict.BAD, trouble, advice))
    waiting = sum(not c.is_there for entry in catalogue for c in entry.copies.values())
    if waiting:
        reason = f"{waiting} copies are still to be sent"
        checks.append(Check("backups", Verdict.NOTE, reason, "They are tried again by themselves."))
    coming = ", ".join(
        f"{words} {iso_utc(schedule.next_slot(expression, backup.timezone, now_ms))}"
        for words, expression in (
            ("full", backup.full), ("incremental", backup.incremental), ("drill", backup.drill),
        )
    )  # fmt: skip
    checks.append(Check("backup schedule", Verdict.GOOD, f"next: {coming}"))
    return checks
