"""Wallets through the engine: created from the seed, funded on a real node, suspended, archived."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from core.api import ChangeWallets, CommandRefusedError, CreateWallets, EventQuery, StatePatch
from core.config import Settings, parse_settings
from core.engine import Engine, EngineMode
from core.model import NoWallet, Secret
from core.store.directory import DataDirectory
from core.telemetry.audit import verify
from core.wallets.seed import Seed
from core.wallets.vault import SeedVault
from tests.clock import TestClock
from tests.integration.real_nodes import own_anvil
from tests.wallets.vaults import QUICK, TYPED, KeptMemory
from tests.wallets.vectors import ABANDON, JUNK

# What the node itself gives out, in its own order.
ANVIL_PATH = "m/44'/60'/0'/0/{index}"
T = TypeVar("T")


def settings_in(folder: Path, url: str = "http://127.0.0.1:9", more: str = "") -> Settings:
    text = f"""
data_dir = "{folder / "data"}"
[polling]
interval = "1s"
[[chain]]
name = "base"
kind = "evm"
endpoints = ["{url}"]
[[asset]]
chain = "base"
symbol = "ETH"
decimals = 18
[wallets.derivation]
evm = "{ANVIL_PATH}"
{more}
"""
    return parse_settings(text, "test", {})


async def seeded(settings: Settings, words: str = JUNK) -> Settings:
    """The data directory with the seed of these words in it."""
    directory = DataDirectory(settings.data_path)
    directory.prepare()
    vault = SeedVault(
        directory.generation(),
        KeptMemory(),
        TestClock(),
        settings.wallets.derivation.templates(),
    )
    await vault.create(Seed.from_words(Secret(words)), TYPED, parameters=QUICK)
    return settings


@asynccontextmanager
async def running(settings: Settings, mode: EngineMode = EngineMode.FULL) -> AsyncIterator[Engine]:
    engine = Engine(settings, mode=mode)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def states(engine: Engine) -> dict[str, str]:
    return {agent.id: agent.state.value for agent in (await engine.state()).agents}


def actions(settings: Settings) -> list[tuple[str, str]]:
    path = settings.data_path / "audit.jsonl"
    assert verify(path).ok
    lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    return [(line["action"], line["subject"]) for line in lines]


@pytest.mark.anvil
async def test_a_created_agent_is_read_at_once_active_when_funded_and_left_alone_when_archived(
    tmp_path: Path,
) -> None:
    with own_anvil() as anvil:
        settings = await seeded(settings_in(tmp_path, anvil.url))
        given = [str(a).lower() for a in anvil.rpc("eth_accounts")]  # type: ignore[union-attr]
        async with running(settings) as engine:
            made = await engine.execute(CreateWallets(count=2, group="trading", tags=("eu",)))
            assert made.details == ("agent-00000", "agent-00001")
            rows = sorted((await engine.state()).balances, key=lambda row: row.agent)
            assert [row.address.lower() for row in rows] == given[:2]
            # The node gives its accounts 10,000 ether: a reading finds them funded.
            await until(lambda: states(engine), {"agent-00000": "ACTIVE", "agent-00001": "ACTIVE"})
            first = (await engine.state()).agents[0]
            assert (first.group, first.tags, first.watch_only) == ("trading", ("eu",), False)
            # One that nobody funded stays pending, and is asked for all the same.
            anvil.rpc("anvil_setBalance", given[2], "0x0")
            await engine.execute(CreateWallets(names=("later",)))
            [wallet] = await engine.wallets("later")
            assert wallet.addresses[0].address.lower() == given[2]
            assert wallet.addresses[0].path == "m/44'/60'/0'/0/2"

            await engine.execute(ChangeWallets(("agent-00000",), "suspend", "leak suspected"))
            assert (await states(engine))["agent-00000"] == "SUSPENDED"
            await engine.execute(ChangeWallets(("agent-00001",), "archive", "done"))
            state = await engine.state()
            assert {row.agent for row in state.balances} == {"agent-00000", "later"}
            for address in given[:2]:
                anvil.rpc("anvil_setBalance", address, "0x7")
            anvil.mine()
            await until(lambda: moved(engine, "agent-00000"), ["7"])  # still read
            await asyncio.sleep(2.5)  # two more cycles
            assert await moved(engine, "agent-00001") == []
            with pytest.raises(CommandRefusedError, match="is ARCHIVED"):
                await engine.execute(ChangeWallets(("agent-00001",), "reactivate", "x"))
            with pytest.raises(CommandRefusedError, match="archived agent is not made again"):
                await engine.execute(CreateWallets(names=("agent-00001",)))
            changes = await engine.events(
                EventQuery(types=("AGENT_WALLET_STATE_CHANGED",), limit=100)
            )
            told = [(e.subject, e.payload["newState"], e.payload["reason"]) for e in changes]
            assert told[2:] == [
                ("agent-00000", "SUSPENDED", "leak suspected"),
                ("agent-00001", "ARCHIVED", "done"),
            ]
            assert sorted(told[:2]) == [
                ("agent-00000", "ACTIVE", "first funded"),
                ("agent-00001", "ACTIVE", "first funded"),
            ]
            [kept] = await engine.wallets("agent-00000")
            await until(lambda: volumes(engine, "agent-00000"), [(1, 10**22 - 7)])
        async with running(settings, EngineMode.READ) as engine:  # and all of it is on disk
            assert [w.state.value for w in await engine.wallets()] == [
                "SUSPENDED", "ARCHIVED", "PENDING",
            ]  # fmt: skip
            assert [w.reason for w in await engine.wallets()] == ["leak suspected", "done", ""]
    assert kept.suspended_ms > kept.activated_ms > 0
    assert actions(settings) == [
        ("wallets.create", "2 agents"),
        ("wallets.create", "1 agents"),
        ("wallets.suspend", "agent-00000"),
        ("wallets.archive", "agent-00001"),
        ("wallets.reactivate", "agent-00001"),
        ("wallets.reactivate.failed", "agent-00001"),
        ("wallets.create", "1 agents"),
        ("wallets.create.failed", "1 agents"),
    ]


async def moved(engine: Engine, agent: str) -> list[str]:
    query = EventQuery(types=("AGENT_BALANCE_CHANGED",), subject=agent, limit=100)
    return [str(event.payload["newBalance"]) for event in await engine.events(query)]


async def volumes(engine: Engine, agent: str) -> list[tuple[int, int]]:
    [wallet] = await engine.wallets(agent)
    return [(volume.transactions, int(volume.amount)) for volume in wallet.volumes]


async def until(ask: Callable[[], Awaitable[T]], wanted: T) -> None:
    ends = time.monotonic() + 60
    while (found := await ask()) != wanted:
        assert time.monotonic() < ends, found
        await asyncio.sleep(0.05)


async def test_two_creations_at_once_share_no_index_and_tell_their_own_progress(
    tmp_path: Path,
) -> None:
    settings = await seeded(settings_in(tmp_path))
    async with running(settings, EngineMode.COMMAND) as engine:
        told: dict[str, list[int]] = {"a": [], "b": []}

        async def follow() -> None:
            async for update in engine.updates(0, 0):
                for job in (update.jobs or ()) if isinstance(update, StatePatch) else ():
                    told[job.id].append(job.done)

        following = asyncio.create_task(follow())
        outcomes = await asyncio.gather(
            engine.execute(CreateWallets(count=2_000, prefix="x", job="a")),
            engine.execute(CreateWallets(count=2_000, prefix="y", job="b")),
        )
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        assert (await engine.state()).jobs == ()
        wallets = await engine.wallets()
        assert len({a.address for w in wallets for a in w.addresses}) == 4_000
        assert {a.path for w in wallets for a in w.addresses} == {
            ANVIL_PATH.replace("{index}", str(n)) for n in range(4_000)
        }
        for job, outcome in zip("ab", outcomes, strict=True):
            assert outcome.changed == 2_000
            assert told[job] == sorted(told[job]) != []


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (CreateWallets(), "0 agents cannot be created"),
        (CreateWallets(count=-3), "-3 agents cannot be created"),
        (CreateWallets(count=100_001), "at most 100,000"),
        (CreateWallets(count=2, names=("a",)), "not both"),
        (CreateWallets(names=("a", "a")), "each only once"),
        (CreateWallets(names=("a\x1b[2J",)), "cannot be used"),
        (CreateWallets(count=1, prefix="p" * 200), "cannot be used"),
        (CreateWallets(count=1, chains=("mars",)), "no chain 'mars'"),
        (ChangeWallets(("agent-00000",), "destroy", "x"), "one of suspend, reactivate, archive"),
        (ChangeWallets((), "suspend", "x"), "at least one agent"),
        (ChangeWallets(("agent-00000",), "suspend", "  "), "a reason is needed"),
        (ChangeWallets(("agent-00000",), "suspend", "x\x1b[2J"), "printable"),
        (ChangeWallets(("agent-00000",), "suspend", "x"), "PENDING"),
        (ChangeWallets(("agent-00000", "nobody"), "suspend", "x"), "No wallet for agent nobody"),
    ],
)
async def test_what_cannot_be_done_is_refused_and_changes_nothing(
    tmp_path: Path, command: CreateWallets | ChangeWallets, why: str
) -> None:
    settings = await seeded(settings_in(tmp_path))
    async with running(settings, EngineMode.COMMAND) as engine:
        await engine.execute(CreateWallets(count=1))
        before = await engine.wallets(), await engine.events(EventQuery())
        with pytest.raises(CommandRefusedError, match=why):
            await engine.execute(command)
        assert (await engine.wallets(), await engine.events(EventQuery())) == before
        assert (await engine.execute(CreateWallets(count=1))).details == ("agent-00001",)
        with pytest.raises(NoWallet, match="No wallet for agent nobody"):
            await engine.wallets("nobody")


async def test_creation_can_be_held_with_a_reason(tmp_path: Path) -> None:
    settings = await seeded(settings_in(tmp_path))
    async with running(settings, EngineMode.COMMAND) as engine:
        engine.walleting.hold_creation("the restored indices are still looked at.")
        with pytest.raises(CommandRefusedError, match="now: the restored indices"):
            await engine.execute(CreateWallets(count=1))
        engine.walleting.hold_creation("")
        assert (await engine.execute(CreateWallets(count=1))).changed == 1


async def test_without_a_seed_nothing_is_created_or_verified(tmp_path: Path) -> None:
    async with running(settings_in(tmp_path), EngineMode.COMMAND) as engine:
        for refused in (
            engine.execute(CreateWallets(count=1)),
            engine.verify_seed(Secret(JUNK)),
            engine.unlock_seed(TYPED),
        ):
            with pytest.raises(CommandRefusedError, match="holds no seed; this installation is"):
                await refused


async def test_words_are_verified_and_a_new_path_needs_the_vault_to_be_opened_once(
    tmp_path: Path,
) -> None:
    settings = await seeded(settings_in(tmp_path))
    async with running(settings, EngineMode.COMMAND) as engine:
        assert "are the seed" in (await engine.verify_seed(Secret(f"  {JUNK.upper()} "))).message
        with pytest.raises(CommandRefusedError, match="but not the one of this installation"):
            await engine.verify_seed(Secret(ABANDON))
        with pytest.raises(CommandRefusedError, match="word 3"):
            await engine.verify_seed(Secret(JUNK.replace("test test test", "test test tset", 1)))
    other = settings_in(tmp_path, more="xrpl = \"m/44'/144'/7'/0/{index}\"")
    async with running(other, EngineMode.COMMAND) as engine:
        with pytest.raises(CommandRefusedError, match="Run `bursar seed unlock` once"):
            await engine.execute(CreateWallets(count=1))
        with pytest.raises(CommandRefusedError, match="wrong"):
            await engine.unlock_seed(Secret("not the password at all"))
        await engine.unlock_seed(TYPED)
        assert (await engine.execute(CreateWallets(count=1))).changed == 1
    assert [action for action, _ in actions(settings)] == [
        "seed.verify",
        "seed.verify",
        "seed.unlock",
        "seed.unlock.failed",
        "seed.unlock",
        "wallets.create",
    ]


@pytest.mark.anvil
async def test_agents_that_nothing_moved_are_archived_where_the_settings_say_so(
    tmp_path: Path,
) -> None:
    day_ms = 86_400_000

    class LaterClock(TestClock):
        """Real sleeping, on a calendar of its own."""

        def now_ms(self) -> int:
            return time.time_ns() // 1_000_000 + self.ahead_ms

        def monotonic(self) -> float:
            return time.monotonic()

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

        ahead_ms = 0

    with own_anvil() as anvil:
        settings = await seeded(settings_in(tmp_path, anvil.url))
        async with running(settings) as engine:
            await engine.execute(CreateWallets(count=1))
            await until(lambda: states(engine), {"agent-00000": "ACTIVE"})
        clock = LaterClock()
        clock.ahead_ms = 91 * day_ms
        for archives, state in ((False, "ACTIVE"), (True, "ARCHIVED")):
            more = f"[wallets]\nauto_archive = {str(archives).lower()}"
            engine = Engine(settings_in(tmp_path, anvil.url, more), clock=clock)
            await engine.start()
            try:
                await asyncio.sleep(1.5)
                await until(lambda: states(engine), {"agent-00000": state})  # noqa: B023
            finally:
                await engine.close()
