"""Fixtures: a node, tokens on it, a fleet of wallets with balances, and readers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from core.chains.evm.reader import EvmReader
from tests.chain import anvil as node
from tests.chain.anvil import Anvil
from tests.chain.bench import Fleet, KeptMemory, WallClock, make_fleet


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything that asks for the node carries the marker."""
    for item in items:
        if "anvil" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.anvil)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for all tests that were skipped for want of the node."""
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(node.MISSING in str(report.longrepr) for report in skipped)
    if count:
        terminalreporter.write_line(f"{node.MISSING} ({count} skipped)", yellow=True)


@pytest.fixture(scope="session")
def anvil() -> Iterator[Anvil]:
    """A node shared by the session: tests leave its earlier blocks alone."""
    executable = node.find()
    if executable is None:
        if os.environ.get("CI"):
            pytest.fail(node.MISSING)
        pytest.skip(node.MISSING)
    with node.running(executable, "--code-size-limit", "100000") as running:
        yield running


@pytest.fixture(scope="session")
def fleet(anvil: Anvil) -> Fleet:
    """300 wallets with native and two OpenZeppelin tokens; every tenth is empty."""
    return make_fleet(anvil, wallets=300)


@pytest.fixture
def memory() -> KeptMemory:
    """What readers of one test learn, kept in a dict."""
    return KeptMemory()


@pytest.fixture
async def reader_for(memory: KeptMemory) -> AsyncIterator[Callable[..., EvmReader]]:
    """Makes readers that are closed at the end; keyword arguments are EvmReader's."""
    made: list[EvmReader] = []

    def make(*urls: str, **options: object) -> EvmReader:
        settings: dict[str, object] = {
            "chain_id": 31337,
            "clock": WallClock(),
            "memory": memory,
            "self_test": False,
            **options,
        }
        reader = EvmReader("anvil", urls, **settings)  # type: ignore[arg-type]  # tests pass what they mean
        made.append(reader)
        return reader

    yield make
    for reader in made:
        await reader.close()
