"""Bad input gets a clear message and a non-zero exit, and nothing is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cli.shell import Home, base_config, base_node, csv_of, small_world

NOWHERE = "http://127.0.0.1:9"  # discard: nobody listens


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.write_config(base_config(NOWHERE))
    return home


@asynccontextmanager
async def page_server() -> AsyncIterator[str]:
    """A web server that is no JSON-RPC endpoint."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        page = b"<html><body>Welcome to nginx!</body></html>"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n"
                     b"Connection: close\r\n\r\n" % len(page) + page)  # fmt: skip
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_misspelt_key_stops_the_start_and_is_named(home: Home) -> None:
    home.config.write_text(home.config.read_text() + '[polling]\nintervall = "5s"\n')
    for command in (["sync"], ["doctor"], ["run"], ["balances"], []):
        done = await home.run(*command)
        assert done.code == 2
        assert "[polling]: unknown key `intervall` (did you mean `interval`?)" in done.err
    assert not home.data.exists()


async def test_a_wrong_checksum_in_the_settings_is_named_with_its_key(home: Home) -> None:
    wrong = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02914"
    home.write_config(base_config(NOWHERE, usdc=wrong))
    done = await home.run("sync")
    assert done.code == 2
    assert "[[asset]] number 2 (USDC) contract" in done.err
    assert "checksum" in done.err


async def test_a_wrong_checksum_address_and_a_duplicate_agent_change_nothing(home: Home) -> None:
    world, _ = small_world()
    good = world.agents[0].addresses["base"]
    wrong = good[:-1] + ("A" if good[-1] != "A" else "B")
    swapped = good[:2] + good[2:].swapcase()
    for address in (wrong, swapped, "0x12", "hello"):
        done = await home.run("wallets", "watch", "a-1", "base", address)
        assert done.code == 1, done
        assert done.err.startswith("bursar: ")
    assert (await home.run("wallets", "list", "--json")).json() == []
    assert (await home.run("wallets", "watch", "a-1", "base", good)).code == 0
    twice = await home.run("wallets", "watch", "a-1", "base", world.agents[1].addresses["base"])
    assert (twice.code, "already has" in twice.err) == (1, True)
    taken = await home.run("wallets", "watch", "a-2", "base", good)
    assert (taken.code, "already belongs to agent a-1" in taken.err) == (1, True)
    assert len((await home.run("wallets", "list", "--json")).json()) == 1


async def test_broken_lines_of_a_csv_are_named_by_number_and_nothing_is_imported(
    home: Home, tmp_path: Path
) -> None:
    world, _ = small_world()
    lines = csv_of(world).splitlines()
    lines[2] = "agent-x,base,0xnothing,,"
    lines[4] = f"agent-y,nochain,{world.agents[3].addresses['base']},,"
    lines.append(lines[1])
    (tmp_path / "agents.csv").write_text("\n".join(lines))
    for dry in ([], ["--dry-run"]):
        done = await home.run("wallets", "import", "agents.csv", *dry)
        assert done.code == 2
        for number in (3, 5, 7):
            assert f"agents.csv:{number}: " in done.err
        assert "nothing was imported" in done.err
    assert (await home.run("wallets", "list", "--json")).json() == []
    missing = await home.run("wallets", "import", "none.csv")
    assert (missing.code, "cannot be read" in missing.err) == (2, True)
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00agent")
    binary = await home.run("wallets", "import", "bytes.csv")
    assert (binary.code, "cannot be read" in binary.err) == (2, True)


async def test_an_endpoint_that_is_not_json_rpc_is_said_by_sync_and_doctor(
    home: Home,
) -> None:
    world, _ = small_world()
    async with page_server() as url:
        home.write_config(base_config(url))
        await home.run("wallets", "watch", "a-1", "base", world.agents[0].addresses["base"])
        synced = await home.run("sync")
        assert synced.code == 3
        assert "base" in synced.err
        examined = await home.run("doctor")
        assert examined.code == 1
        assert "BAD" in examined.out
        (row, _) = (await home.run("balances", "--json")).json()
        assert row["balance"] is None  # unknown, never 0
        assert row["error"]


async def test_a_contract_that_is_none_is_unknown_with_its_reason_and_the_rest_is_read(
    home: Home,
) -> None:
    world, _ = small_world()
    async with base_node(world) as node:
        home.write_config(base_config(node.url, usdc="0x" + "11" * 20))
        await home.run("wallets", "watch", "a-1", "base", world.agents[0].addresses["base"])
        synced = await home.run("sync")
        assert synced.code == 3
        rows = {r["token"]: r for r in (await home.run("balances", "--json")).json()}
        assert rows["ETH"]["balance"] is not None
        assert rows["USDC"]["balance"] is None
        assert "no contract" in rows["USDC"]["error"]
        examined = await home.run("doctor")
        assert examined.code == 1
        assert "no contract" in examined.out


async def test_a_data_directory_that_cannot_be_written_is_named(home: Home) -> None:
    home.config.write_text(home.config.read_text().replace(str(home.data), "/proc/bursar"))
    for command in (["sync"], ["run"], ["doctor"]):
        done = await home.run(*command)
        assert done.code == 1
        assert "/proc/bursar" in done.out + done.err


async def test_a_data_directory_others_may_read_is_refused(home: Home) -> None:
    home.data.mkdir(mode=0o755)
    home.data.chmod(0o755)
    done = await home.run("sync")
    assert done.code == 1
    assert "chmod 700" in done.err


async def test_a_database_of_a_newer_version_is_refused_and_not_touched(home: Home) -> None:
    world, _ = small_world()
    await home.run("wallets", "watch", "a-1", "base", world.agents[0].addresses["base"])
    database = home.data / "gen-0001" / "bursar.db"
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA user_version = 9999")
    connection.commit()
    connection.close()
    before = database.read_bytes()
    for command in (["sync"], ["run"], ["balances"], ["doctor"]):
        done = await home.run(*command)
        assert done.code == 1, (command, done)
        assert "newer" in done.out + done.err
    assert database.read_bytes() == before


async def test_unknown_options_and_values_are_usage_errors(home: Home) -> None:
    for command in (
        ["balances", "--history", "--since", "yesterday"],
        ["export", "everything"],
        ["wallets", "limit", "base", "USDC", "--floor", "1"],
        ["wallets", "limit", "base", "USDC", "--group", "g", "--floor", "x"],
        ["nonsense"],
        ["demo", "--agents", "0"],
    ):
        done = await home.run(*command)
        assert done.code == 2, (command, done)
        assert done.err
