"""What `bursar doctor` looks at: directory, seed, backups, ledger, clock, endpoints.

Each check is a sentence with a verdict and, when bad, the next step. Nothing is changed, but that
a destination is given a small file and loses it again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from core.clock import SystemClock
from core.config import ChainSettings, Settings, mask_url
from core.engine.backup_checks import backup_checks
from core.engine.compose import build_reader, configured_assets
from core.engine.ledger_io import check_files, ledger_folder
from core.engine.ledgers import build_ledger
from core.engine.seed_checks import seed_checks
from core.engine.verdicts import Check, Verdict
from core.ledger import LedgerError, QueryFilter
from core.model import Asset, BursarError, ChainKind, Reading, Request, Unknown
from core.store.directory import DataDirectory
from core.store.protocol import NewAsset, StoreError
from core.store.sqlite import SqliteStore

ENDPOINT_LIMIT_S = 20.0
CLOCK_TOLERANCE_MS = 60_000
LEDGER_LIMIT_S = 9.0
LOW_DISK_BYTES = 500 * 1024 * 1024

# An address every chain of the kind accepts, to ask an endpoint about: the zero account on EVM
# and TRON, the genesis account on XRPL.
PROBE = {
    ChainKind.EVM: "0x0000000000000000000000000000000000000000",
    ChainKind.XRPL: "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh",
    ChainKind.TRON: "T9yD14Nj9j7xAB4dbGeiX9h8unkkYZVg9",
}


class _Forgetful:
    """An endpoint memory that keeps nothing: doctor must not change what the engine learnt."""

    async def recall(self, key: str) -> str | None:
        return None

    async def remember(self, key: str, value: str) -> None:
        return None


async def examine(settings: Settings) -> list[Check]:
    """All checks, endpoints side by side."""
    checks = [_settings(settings), *await _directory(settings)]
    assets = configured_assets(settings)
    rounds = [
        seed_checks(settings),
        backup_checks(settings),
        _ledger(settings),
        *(
            _endpoint(chain, url, settings, assets)
            for chain in settings.chain
            for url in chain.endpoints
        ),
    ]
    for found in await asyncio.gather(*rounds):
        checks += found
    checks.append(_terminal())
    return checks


def _settings(settings: Settings) -> Check:
    source = settings.source or "defaults and environment (no file found)"
    if not settings.chain:
        return Check(
            "settings", Verdict.BAD, f"{source}: no [[chain]]", "Run `bursar init`, then edit it."
        )
    if not settings.asset:
        return Check("settings", Verdict.BAD, f"{source}: no [[asset]]", "Add one for each chain.")
    count = f"{len(settings.chain)} chains, {len(settings.asset)} assets"
    return Check("settings", Verdict.GOOD, f"{source}: {count}")


async def _directory(settings: Settings) -> list[Check]:
    directory = DataDirectory(settings.data_path)
    if not directory.path.exists():
        parent = next(p for p in directory.path.parents if p.exists())
        if os.access(parent, os.W_OK):
            return [Check("data directory", Verdict.NOTE, f"{directory.path} is not made yet")]
        return [
            Check(
                "data directory",
                Verdict.BAD,
                f"{directory.path} cannot be made: {parent} is not writable",
                "Set data_dir in the settings or BURSAR_DATA_DIR.",
            )
        ]
    try:
        directory.check()
    except StoreError as error:
        return [Check("data directory", Verdict.BAD, str(error))]
    free = shutil.disk_usage(directory.path).free
    verdict = Verdict.GOOD if free > LOW_DISK_BYTES else Verdict.BAD
    checks = [
        Check(
            "data directory",
            verdict,
            f"{directory.path}, {free // 1024**2:,} MiB free",
            "" if verdict is Verdict.GOOD else "Make room: a full disk stops recording.",
        )
    ]
    running = "is running" if directory.is_owned() else "is not running"
    checks.append(Check("engine", Verdict.NOTE, running))
    if directory.exists():
        store = SqliteStore(directory.database, settings.settlement.node_id)
        try:
            await store.open_read_only()
            registry = await store.registry()
            size = await store.size_bytes()
            found = f"{len(registry.agents):,} agents, {size // 1024:,} KiB"
            checks.append(Check("database", Verdict.GOOD, found))
        except StoreError as error:
            checks.append(Check("database", Verdict.BAD, str(error)))
        finally:
            await store.close()
    return checks


async def _ledger(settings: Settings) -> list[Check]:
    """Which backend, whether its files are whole, or whether its cluster answers."""
    directory = DataDirectory(settings.data_path)
    generation = directory.path / "gen-0001"
    checks: list[Check] = []
    try:
        if directory.exists():
            generation = directory.generation()
            checks += await asyncio.to_thread(_ledger_files, generation)
    except StoreError:
        return []  # the data directory's own check says it
    ledger = build_ledger(settings.ledger, generation, SystemClock())
    if settings.ledger.tigerbeetle.cluster_id is None:
        return [Check("accounting backend", Verdict.GOOD, ledger.backend), *checks]
    try:
        async with asyncio.timeout(LEDGER_LIMIT_S):
            await ledger.open()
            await ledger.query_accounts(QueryFilter(limit=1))
    except (LedgerError, TimeoutError) as error:
        reason = str(error) or f"no answer in {LEDGER_LIMIT_S:.0f} s"
        advice = "Start the cluster or correct [ledger.tigerbeetle]; all else works without it."
        found = Check("accounting backend", Verdict.BAD, f"{ledger.backend}: {reason}", advice)
    else:
        found = Check("accounting backend", Verdict.GOOD, f"{ledger.backend} answers")
    finally:
        await ledger.close()
    return [found, *checks]


def _ledger_files(generation: Path) -> list[Check]:
    """What `bursar ledger check` would say, in one line."""
    folder = ledger_folder(generation)
    try:
        report = check_files(folder)
    except OSError as error:
        reason = f"{folder} cannot be read: {error.strerror or error}"
        return [Check("ledger files", Verdict.BAD, reason, "Check owner and mode.")]
    if report is None:
        return [Check("ledger files", Verdict.NOTE, f"{folder} is not made yet")]
    if report.damage:
        first = report.damage[0]
        reason = f"{first.file}: {first.what} at byte {first.offset}"
        advice = "Run `bursar ledger check`; restore the ledger's directory from a backup."
        return [Check("ledger files", Verdict.BAD, reason, advice)]
    found = f"{report.accounts:,} accounts, {report.transfers:,} transfers, journal whole"
    checks = [Check("ledger files", Verdict.GOOD, found)]
    return checks + [Check("ledger files", Verdict.NOTE, notice) for notice in report.notices]


async def _endpoint(
    chain: ChainSettings, url: str, settings: Settings, assets: tuple[NewAsset, ...]
) -> list[Check]:
    name = f"{chain.name} {mask_url(url)}"
    clock = SystemClock()
    reader = build_reader(chain, settings, clock, _Forgetful(), (url,))
    wanted = [
        Asset(number, a.chain, a.symbol, a.name, a.decimals, a.contract)
        for number, a in enumerate(assets, start=1)
        if a.chain == chain.name
    ]
    requests = [Request(PROBE[chain.kind], asset) for asset in wanted]
    if not requests:
        return [Check(name, Verdict.BAD, "no [[asset]] names this chain", "Add one.")]
    started = clock.monotonic()
    try:
        await reader.open()
        async with asyncio.timeout(ENDPOINT_LIMIT_S):
            reading = await reader.read(requests)
    except TimeoutError:
        return [Check(name, Verdict.BAD, f"no answer in {ENDPOINT_LIMIT_S:.0f} s", _ADVICE)]
    except BursarError as error:
        return [Check(name, Verdict.BAD, str(error), _ADVICE)]
    finally:
        await reader.close()
    took = (clock.monotonic() - started) * 1000
    health = reader.health()[0]
    finding = f"block {reading.block.number:,}, {health.rung or 'read'}, {took:.0f} ms"
    checks = [Check(name, Verdict.GOOD, finding)]
    checks += _clock(name, reading, clock.now_ms())
    checks += [
        Check(
            f"{name} {asset.symbol}",
            Verdict.BAD,
            answer.reason,
            f"Check the contract {asset.contract} of this [[asset]].",
        )
        for asset, answer in zip(wanted, (reading[i] for i in range(len(wanted))), strict=True)
        if isinstance(answer, Unknown)
    ]
    return checks


_ADVICE = "Check the URL, the key in it and the network; other endpoints are used meanwhile."


def _clock(name: str, reading: Reading, now_ms: int) -> list[Check]:
    """A block from the future means that this machine's clock is behind."""
    ahead = reading.block.time_ms - now_ms
    if ahead <= CLOCK_TOLERANCE_MS:
        return []
    return [
        Check(
            "clock",
            Verdict.BAD,
            f"{name} states a block {ahead // 1000} s ahead of this machine's clock",
            "Synchronise the clock (NTP).",
        )
    ]


def _terminal() -> Check:
    term = os.environ.get("TERM", "")
    size = shutil.get_terminal_size()
    notes = [f"TERM={term or 'unset'}", f"{size.columns}x{size.lines}"]
    if os.environ.get("SSH_CONNECTION"):
        notes.append("over SSH: `bursar --safe` saves bandwidth")
    return Check("terminal", Verdict.NOTE, ", ".join(notes))
