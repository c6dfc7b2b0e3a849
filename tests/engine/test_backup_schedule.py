"""The schedule over days that pass at once: missed slots, failures, restarts, late deliveries."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from core.api import RunDueBackups
from core.backup.making import Snapshot
from core.backup.records import (
    AgentEntry,
    AnyRecord,
    ChainEntry,
    Lifecycle,
    Wallet,
    Whole,
    sort_records,
)
from core.balances.versions import VersionCounter
from core.config import Settings
from core.engine.backing import Backing
from core.engine.drilling import Drilling
from core.events import BackupCreated, BackupFailed, Event
from core.model import BursarError
from core.telemetry.audit import AuditLog
from tests.backup.installation import installation, snapshot
from tests.clock import START_MS, TestClock, until
from tests.engine.backed_up import settings_of, with_key

DAY_S, HOUR_S, MINUTE_S = 86_400, 3_600, 60
NO_JITTER = '[backup]\njitter = "0s"\n'


def watched(agents: Sequence[str]) -> list[AnyRecord]:
    """A watch-only fleet that can be restored."""
    records: list[AnyRecord] = [ChainEntry(name="base", chain_kind="evm")]
    for name in agents:
        records += [
            AgentEntry(agent=name, state="ACTIVE", watch_only=True, created_ms=Whole(START_MS)),
            Wallet(agent=name, chain="base", address=f"0x{name.encode().hex():0>40}"),
            Lifecycle(agent=name, state="ACTIVE", since_ms=Whole(START_MS)),
        ]
    return sort_records(records)


class Site:
    """An installation whose records are given, with a clock of its own."""

    def __init__(self, folder: Path, more: str = NO_JITTER) -> None:
        self.settings: Settings = settings_of(folder, more)
        self.clock = TestClock()
        self.agents = ["alpha"]
        self.records: list[AnyRecord] = []
        self.broken: Exception | None = None
        self.events: list[Event] = []
        self.backing: Backing
        with_key(self.settings)

    @contextmanager
    def take(self) -> Iterator[Snapshot]:
        if self.broken is not None:
            raise self.broken
        yield snapshot(self.records or watched(self.agents))

    async def publish(self, events: Sequence[Event]) -> None:
        self.events += events

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open, run and end the service, as a start and a stop of the engine do."""
        audit = AuditLog(self.settings.data_path / "audit.jsonl", self.clock)
        self.backing = Backing(
            self.settings, self.clock, VersionCounter(), self.take, self.publish, audit
        )
        await self.backing.open()
        drilling = Drilling(self.settings, self.backing, self.clock)
        tasks = [asyncio.create_task(each.run()) for each in (self.backing, drilling)]
        await self.idle()
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await audit.close()

    async def idle(self) -> None:
        """Wait until the service sleeps again."""
        await until(lambda: self.clock.sleepers() >= 2, "both services sleep")

    async def pass_time(self, seconds: float, step: float = MINUTE_S) -> None:
        """Let time pass in steps, the service's work in threads done after each. Of a step the
        service sees the last minute, look by look; before that nothing is new but the time."""
        for _ in range(int(seconds / step)):
            minute = min(step, MINUTE_S)
            await self.clock.leap(step - minute)
            await self.idle()
            await self.clock.advance(minute)
            await self.idle()

    @property
    def made(self) -> list[str]:
        """The types of what the catalogue has, oldest first."""
        return [entry.type.value for entry in reversed(list(self.backing.stock.catalogue))]

    def told(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_a_week_makes_a_full_and_an_incremental_a_day(site: Site) -> None:
    async with site.running():
        assert site.made == ["full"]  # nothing was ever made: the last slot is made up for
        for day in range(7):
            site.agents.append(f"agent-{day}")
            await site.pass_time(DAY_S, HOUR_S)
    # 2026-05-28 is a Thursday: the third midnight is a Sunday's, and both are due
    assert site.made == ["full", *["incremental"] * 2, "full", *["incremental"] * 4]
    assert len(site.told(BackupCreated)) == 8
    assert site.told(BackupFailed) == []


async def test_slots_missed_while_nothing_ran_are_made_up_for_once(site: Site) -> None:
    async with site.running():
        pass
    await site.clock.advance(2 * DAY_S)  # two incrementals' slots
    async with site.running():
        assert site.made == ["full", "incremental"]
        await site.pass_time(HOUR_S)
        assert site.made == ["full", "incremental"]
    await site.clock.advance(20 * DAY_S)  # fulls' and incrementals' slots: the full is for all
    async with site.running():
        await site.pass_time(HOUR_S)
        assert site.made == ["full", "incremental", "full"]


async def test_jitter_puts_a_catch_up_off_and_a_timer_does_not_wait(tmp_path: Path) -> None:
    site = Site(tmp_path, '[backup]\njitter = "1d"\n')
    async with site.running():
        assert site.made == []
        done = await site.backing.execute(RunDueBackups())
        assert "Made full backup" in done.message
        again = await site.backing.execute(RunDueBackups())
        assert again.message.startswith("Nothing is due; the next incremental backup is due")


async def test_a_failure_is_told_kept_over_a_restart_and_tried_again_later(site: Site) -> None:
    site.broken = BursarError("the database is locked")
    async with site.running():
        assert site.made == []
        view = site.backing.all()
        assert "the database is locked" in view.trouble
        [job] = view.jobs
        assert (job.kind, "the database is locked" in job.error) == ("backup", True)
        [failed] = site.told(BackupFailed)
        assert isinstance(failed, BackupFailed)
        assert (failed.operation, failed.backup_type, failed.attempt) == ("create", "full", 1)
        await site.pass_time(30, 15)
        assert len(site.told(BackupFailed)) == 1  # not every time it looks
    async with site.running():
        assert len(site.told(BackupFailed)) == 1  # nor at every start
        await site.pass_time(60)
        assert len(site.told(BackupFailed)) == 2
        site.broken = None
        await site.pass_time(HOUR_S)
        assert site.made == ["full"]
        assert site.backing.all().trouble == ""


async def test_after_a_failed_run_in_between_the_chain_goes_on(site: Site) -> None:
    async with site.running():
        site.broken = OSError("the disk is on fire")
        await site.pass_time(DAY_S, HOUR_S)
        assert site.made == ["full"]
        site.broken = None
        site.agents.append("beta")
        await site.pass_time(2 * HOUR_S, HOUR_S)
        full, child = reversed(list(site.backing.stock.catalogue))
        assert (child.parent_id, child.wallet_count) == (full.id, 2)


async def test_what_nobody_expected_stops_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.broken = RuntimeError("a mistake of ours")
    async with site.running():
        await site.pass_time(30, 15)
        assert "a mistake of ours" in caplog.text
        site.broken = None
        await site.pass_time(HOUR_S)
        assert site.made == ["full"]


async def test_an_archive_that_no_destination_took_is_sent_later_and_not_made_again(
    tmp_path: Path,
) -> None:
    away = tmp_path / "usb" / "backups"
    place = f'[[backup.destination]]\nname = "usb"\npath = "{away}"\n'
    site = Site(tmp_path, NO_JITTER + place)
    async with site.running():
        await site.pass_time(2 * HOUR_S, 600)
        assert site.made == ["full"]
        [entry] = site.backing.stock.catalogue
        assert (entry.durable_ms, entry.copies["usb"].attempts > 2) == (0, True)
        [failed] = site.told(BackupFailed)
        assert isinstance(failed, BackupFailed)
        assert failed.operation == "deliver"
        assert site.told(BackupCreated) == []
        away.parent.mkdir()
    async with site.running():  # the outbox is kept over a restart
        await site.pass_time(HOUR_S + 60)
        [created] = site.told(BackupCreated)
        assert isinstance(created, BackupCreated)
        assert (created.backup_id, created.destinations, created.missing) == (
            entry.id, ("usb",), (),
        )  # fmt: skip
        assert site.backing.all().trouble == ""
        assert list(site.backing.stock.spool.glob("*.bursar")) == []


async def test_a_new_destination_gets_a_full_first(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.running():
        pass
    place = f'[[backup.destination]]\nname = "usb"\npath = "{tmp_path}/usb"\n'
    local = '[[backup.destination]]\nname = "local"\n'
    site.settings = settings_of(tmp_path, NO_JITTER + local + place)
    await site.clock.advance(DAY_S)
    async with site.running():
        assert site.made == ["full", "full"]
        await site.pass_time(DAY_S, HOUR_S)
        assert site.made == ["full", "full", "incremental"]


async def test_a_key_that_comes_later_is_taken_up_without_a_restart(site: Site) -> None:
    path = site.settings.data_path / "backup-key.json"
    path.rename(site.settings.data_path / "elsewhere")
    async with site.running():
        assert "bursar backup setup" in site.backing.all().off
        assert site.made == []
        (site.settings.data_path / "elsewhere").rename(path)
        await site.pass_time(15, 15)
        assert (site.backing.all().off, site.made) == ("", ["full"])
        path.chmod(0o640)
        await site.pass_time(DAY_S, HOUR_S)
        assert "chmod 600" in site.backing.all().off
        assert site.made == ["full"]


async def test_retention_follows_every_success(tmp_path: Path) -> None:
    keep = 'keep_incrementals = "3d"\nkeep_fulls = "9d"\n'
    site = Site(tmp_path, NO_JITTER + keep)
    async with site.running():
        for _ in range(16):
            await site.pass_time(DAY_S, 12 * HOUR_S)
        entries = list(site.backing.stock.catalogue)
        stored = {path.name for path in (tmp_path / "data" / "backups").glob("*.bursar")}
        assert stored == {entry.name for entry in entries}
        assert len(entries) < 13
        for entry in entries:
            site.backing.stock.catalogue.chain_of(entry.id)  # every chain is whole


async def test_a_lost_catalogue_is_rebuilt_and_the_chain_goes_on(site: Site) -> None:
    async with site.running():
        [before] = site.backing.stock.catalogue
    shutil.rmtree(site.settings.data_path / "backup-state" / "catalogue")
    await site.clock.advance(DAY_S)
    async with site.running():
        assert site.made == ["full", "incremental"]
        assert site.backing.stock.catalogue.get(before.id) is not None


async def test_drills_follow_their_own_schedule_from_the_next_slot_on(site: Site) -> None:
    async with site.running():
        await site.pass_time(3 * DAY_S, HOUR_S)
        assert site.backing.all().last_drilled_ms == 0  # the first of June is still to come
        await site.pass_time(2 * DAY_S, HOUR_S)
        drilled_ms = site.backing.all().last_drilled_ms
        assert drilled_ms > 0
        await site.pass_time(2 * DAY_S, HOUR_S)
        assert site.backing.all().last_drilled_ms == drilled_ms
        assert site.told(BackupFailed) == []


async def test_a_drill_that_fails_is_told_and_waits_before_the_next(site: Site) -> None:
    site.records = installation()  # its seed is made up: no address of it comes out again
    async with site.running():
        await site.pass_time(4 * DAY_S + 8 * HOUR_S, HOUR_S)
        [*failed] = site.told(BackupFailed)
        assert {event.operation for event in failed if isinstance(event, BackupFailed)} == {"drill"}
        assert 1 <= len(failed) <= 4
        assert "The last drill failed" in site.backing.all().trouble
