"""The way of a platform engineer: init, import, doctor, sync, balances, top-up, export."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from tests.cli.shell import Home, base_config, base_node, csv_of, small_world
from tests.demo.worlds import asset, balance


async def test_from_init_to_balances_over_a_real_endpoint(tmp_path: Path) -> None:
    world, clock = small_world()
    home = Home(tmp_path)
    first = await home.run("--config", "new.toml", "init", "--data-dir", str(home.data))
    assert first.code == 0
    assert (tmp_path / "new.toml").stat().st_mode & 0o777 == 0o600
    assert home.data.stat().st_mode & 0o777 == 0o700
    again = await home.run("--config", "new.toml", "init")
    assert (again.code, "nothing was changed" in again.err) == (2, True)

    (tmp_path / "agents.csv").write_text(csv_of(world))
    async with base_node(world) as node:
        home.write_config(base_config(node.url))
        dry = await home.run("wallets", "import", "agents.csv", "--dry-run")
        assert dry.code == 0, dry.err
        assert (await home.run("wallets", "list", "--json")).json() == []
        done = await home.run("wallets", "import", "agents.csv")
        assert (done.code, done.out) == (0, "Following 5 addresses of 5 agents.\n"), done.err

        listed = (await home.run("wallets", "list", "--json")).json()
        assert {row["agent"] for row in listed} == {agent.id for agent in world.agents}
        examined = await home.run("doctor", "--json")
        assert examined.code == 0, examined.out
        assert examined.json()["problems"] == 0

        synced = await home.run("sync", "--json")
        assert synced.code == 0, synced.err
        unmoved = await home.run("sync")
        assert unmoved.code == 0
        assert "No balance changed." in unmoved.out

        rows = (await home.run("balances", "--json")).json()
        now = clock.now_ms()
        for row in rows:
            number = int(row["agentId"].rpartition("-")[2])
            index = next(i for i, a in enumerate(world.agents) if a.id == row["agentId"])
            assert number >= 0
            assert row["balance"] == str(balance(world, index, row["token"], now))
            assert row["error"] is None
        assert len(rows) == 10
        only = (await home.run("balances", "--agent", world.agents[0].id, "--csv")).out
        parsed = list(csv.DictReader(io.StringIO(only)))
        assert {row["token"] for row in parsed} == {"ETH", "USDC"}

        missing = (await home.run("topup", "--json")).json()
        for row in missing:
            assert int(row["amount"]) == int(row["target"]) - int(row["balance"])
        assert {row["token"] for row in missing} == {"USDC"}
        nobody = await home.run("balances", "--agent", "nobody")
        assert (nobody.code, nobody.err) == (1, "bursar: No wallet for agent nobody\n")


async def test_a_change_is_one_event_in_sync_history_and_export(tmp_path: Path) -> None:
    world, clock = small_world(40)
    home = Home(tmp_path)
    (tmp_path / "agents.csv").write_text(csv_of(world))
    async with base_node(world) as node:
        home.write_config(base_config(node.url))
        await home.run("wallets", "import", "agents.csv")
        assert (await home.run("sync")).code == 0
        before = {
            (agent.id, s): balance(world, i, s, clock.now_ms())
            for i, agent in enumerate(world.agents)
            for s in ("ETH", "USDC")
        }
        clock.ms += 600_000
        moved = (await home.run("sync", "--json")).json()["changes"]
        after = {
            (agent.id, s): balance(world, i, s, clock.now_ms())
            for i, agent in enumerate(world.agents)
            for s in ("ETH", "USDC")
        }
        expected = {k: str(after[k]) for k in after if after[k] != before[k]}
        assert expected
        assert {(e["agentId"], e["token"]): e["newBalance"] for e in moved} == expected
        assert all(int(e["newBalance"]) - int(e["oldBalance"]) == int(e["change"]) for e in moved)
        (agent, token), value = next(iter(expected.items()))
        history = (
            await home.run("balances", "--agent", agent, "--asset", token, "--history", "--json")
        ).json()
        assert [row["balance"] for row in history][-1] == value
        exported = await home.run("export", "events")
        kinds = [json.loads(line)["type"] for line in exported.out.splitlines()]
        assert kinds.count("AGENT_BALANCE_CHANGED") == len(expected)
        assert (await home.run("export", "history", "--csv", "--to", "h.csv")).code == 0
        assert (tmp_path / "h.csv").stat().st_mode & 0o777 == 0o600


async def test_groups_tags_and_limits_are_set_and_shown(tmp_path: Path) -> None:
    world, _ = small_world()
    home = Home(tmp_path)
    agent = world.agents[0]
    async with base_node(world) as node:
        home.write_config(base_config(node.url))
        watched = await home.run("wallets", "watch", agent.id, "base", agent.addresses["base"])
        assert watched.code == 0, watched.err
        tagged = await home.run("wallets", "tag", agent.id, "--group", "alpha", "--add", "eu")
        assert tagged.out == "Changed 1 of 1 agents.\n"
        (row,) = (await home.run("wallets", "list", "--json")).json()
        assert (row["group"], row["tags"]) == ("alpha", "eu")
        limited = await home.run(
            "wallets", "limit", "base", "USDC", "--group", "alpha",
            "--floor", "10", "--target", "99999999",
        )  # fmt: skip
        assert limited.code == 0, limited.err
        await home.run("sync")
        (need,) = (await home.run("topup", "--json")).json()
        assert need["target"] == str(99_999_999 * 10**6)
        own = await home.run("wallets", "limit", "base", asset("USDC").contract or "",
                             "--agent", agent.id, "--target", "0.5", "--floor", "0.25")  # fmt: skip
        assert own.code == 0, own.err
        assert (await home.run("topup", "--json")).json() == []
        cleared = await home.run("wallets", "limit", "base", "USDC", "--agent", agent.id, "--clear")
        assert cleared.code == 0
        assert len((await home.run("topup", "--json")).json()) == 1
