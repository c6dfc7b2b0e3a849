"""`bursar wallets create | suspend | ... | list` and `bursar seed`, as processes."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.cli.shell import Home, base_config, base_node, small_world
from tests.cli.talking import talking
from tests.cli.test_engine_process import serving
from tests.cli.test_init import PASSWORD, piped
from tests.wallets.vectors import ABANDON, JUNK

# The first accounts of anvil and hardhat, as they print them (m/44'/60'/0'/0/i).
ANVIL = [
    "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
]
ANVIL_PATH = "m/44'/60'/0'/0/{index}"
XRPL = '\n[[chain]]\nname = "xrpl"\nkind = "xrpl"\nendpoints = ["ws://127.0.0.1:9"]\n' + (
    '[[asset]]\nchain = "xrpl"\nsymbol = "XRP"\ndecimals = 6\n'
)


async def seeded(folder: Path, chains: str, *more: str, words: str = JUNK) -> Home:
    """A home whose seed is these words, set up as a script does it."""
    home = Home(folder)
    args = ("--config", "bursar.toml", "init", "--data-dir", str(home.data), "--import", *more)
    code, _, err = await piped(home, f"{words}\n{PASSWORD}\n", *args)
    assert code == 0, err
    home.config.write_text(home.config.read_text() + chains)
    return home


async def listed(home: Home, *args: str) -> list[dict[str, Any]]:
    done = await home.run("wallets", "list", "--json", *args)
    assert done.code == 0, done.err
    rows: list[dict[str, Any]] = done.json()
    return rows


async def test_known_words_give_the_known_addresses_by_the_paths_that_were_set(
    tmp_path: Path,
) -> None:
    chains = base_config("http://127.0.0.1:9") + XRPL
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    home = await seeded(tmp_path / "a", chains, "--path", f"evm={ANVIL_PATH}")
    made = await home.run("wallets", "create", "3", "--chain", "base", "--group", "g", "--json")
    assert made.code == 0, made.err
    assert [(row["agent"], row["address"], row["path"]) for row in made.json()] == [
        (f"agent-0000{n}", address, f"m/44'/60'/0'/0/{n}") for n, address in enumerate(ANVIL)
    ]
    assert await listed(home, "--group", "g") == made.json()
    # By the standard paths, agents have an account of their own.
    home = await seeded(tmp_path / "b", chains, words=ABANDON)
    assert (await home.run("wallets", "create", "--name", "ops", "--tag", "eu")).code == 0
    base, xrpl = await listed(home)
    assert (base["path"], xrpl["path"]) == ("m/44'/60'/1'/0/0", "m/44'/144'/1'/0/0")
    assert (base["agent"], base["tags"], base["state"]) == ("ops", "eu", "PENDING")
    home = await seeded(tmp_path / "c", chains, "--path", "xrpl=m/44'/144'/0'/0/{index}",
                        words=ABANDON)  # fmt: skip
    await home.run("wallets", "create", "1", "--chain", "xrpl")
    assert [r["address"] for r in await listed(home)] == ["rHsMGQEkVNJmpGWs8XUBoTBiAAbwxZN5v3"]
    refused = await home.run("--config", "x.toml", "init", "--path", "evm=m/44/60/{index}")
    assert (refused.code, "hardened step" in refused.err) == (2, True)


@pytest.mark.parametrize("has_engine", [False, True])
async def test_two_creations_of_500_at_once_share_nothing_and_stay(
    tmp_path: Path, has_engine: bool
) -> None:
    home = await seeded(tmp_path, base_config("http://127.0.0.1:9"))
    engine = await serving(home) if has_engine else None
    try:
        one, two = await asyncio.gather(
            home.run("wallets", "create", "500", "--prefix", "left"),
            home.run("wallets", "create", "500", "--prefix", "right"),
        )
        assert (one.code, two.code) == (0, 0), one.err + two.err
        before = await listed(home)
    finally:
        if engine is not None:
            engine.terminate()
            await engine.wait()
    assert len({row["address"] for row in before}) == 1_000
    assert {row["path"] for row in before} == {f"m/44'/60'/1'/0/{n}" for n in range(1_000)}
    assert len({row["agent"] for row in before}) == 1_000
    assert await listed(home) == before
    third = await home.run("wallets", "create", "1")
    assert "agent-01000" in third.out
    status = (await home.run("seed", "status")).out
    assert "all 1,001 derived again" in status


async def test_long_creations_show_a_bar_with_rate_on_a_terminal_and_a_line_a_stage_elsewhere(
    tmp_path: Path,
) -> None:
    home = await seeded(tmp_path, base_config("http://127.0.0.1:9"))
    done = await home.run("wallets", "create", "10000")
    assert done.code == 0, done.err
    assert done.err == "deriving 10,000 addresses\nregistering 10,000 addresses\n"
    assert done.out == "Created 10,000 agents (agent-00000 to agent-09999) with 10,000 addresses.\n"
    with talking(home, "wallets", "create", "10000", "--prefix", "more") as talk:
        talk.until("deriving")
        talk.until("addresses/s")
        talk.until("Created 10,000 agents")
        assert talk.line.ended() == 0


async def test_what_is_created_beside_a_running_engine_is_read_within_a_cycle(
    tmp_path: Path,
) -> None:
    world, _ = small_world()
    async with base_node(world) as node:
        home = await seeded(tmp_path, "[polling]\n#", "--path", f"evm={ANVIL_PATH}")
        text = home.config.read_text().replace('interval = "30s"', 'interval = "1s"')
        home.config.write_text(text.replace("[polling]\n#", "") + base_config(node.url))
        engine = await serving(home)
        try:
            made = await home.run("wallets", "create", "2", "--group", "new")
            assert made.code == 0, made.err
            for _ in range(60):
                rows = (await home.run("balances", "--json")).json()
                if len(rows) == 4 and all(row["balance"] is not None for row in rows):
                    break
                await asyncio.sleep(0.1)
            assert {(r["agentId"], r["group"], r["balance"]) for r in rows} == {
                (agent, "new", "0") for agent in ("agent-00000", "agent-00001")
            }
            early = await home.run("wallets", "archive", "agent-00000", "--reason", "x", "--yes")
            assert (early.code, "PENDING" in early.err) == (1, True)
        finally:
            engine.terminate()
            await engine.wait()


async def test_lives_are_changed_with_a_reason_or_not_at_all(tmp_path: Path) -> None:
    world, _ = small_world()
    home = Home(tmp_path)
    one, two = world.agents[0], world.agents[1]
    async with base_node(world) as node:
        home.write_config(base_config(node.url))
        for agent in (one, two):
            await home.run("wallets", "watch", agent.id, "base", agent.addresses["base"])
        assert (await home.run("wallets", "suspend", one.id)).code == 2  # no reason
        done = await home.run("wallets", "suspend", one.id, two.id, "--reason", "key lost")
        assert done.out == "Suspended 2 agents.\n"
        half = await home.run("wallets", "reactivate", one.id, "nobody", "--reason", "found")
        assert (half.code, "No wallet for agent nobody" in half.err) == (1, True)
        assert {row["state"] for row in await listed(home)} == {"SUSPENDED"}
        await home.run("wallets", "reactivate", one.id, "--reason", "found")
        await home.run("wallets", "archive", two.id, "--reason", "sold")
        assert [(r["agent"], r["state"]) for r in await listed(home)] == sorted(
            [(one.id, "ACTIVE"), (two.id, "ARCHIVED")]
        )
        assert [r["agent"] for r in await listed(home, "--state", "archived")] == [two.id]
        assert (await home.run("sync")).code == 0
        rows = (await home.run("balances", "--json")).json()
        assert {row["agentId"] for row in rows} == {one.id}  # an archived one is not read
        again = await home.run("wallets", "watch", two.id, "base", two.addresses["base"])
        assert (again.code, "archived" in again.err) == (1, True)
        assert (await home.run("audit", "verify")).code == 0
        lines = (home.data / "audit.jsonl").read_bytes().splitlines()
        told = [msgspec.json.decode(line) for line in lines]
        assert [(line["action"], line["details"].get("reason")) for line in told] == [
            ("wallets.suspend", "key lost"),
            ("wallets.reactivate", "found"),
            ("wallets.reactivate.failed", None),
            ("wallets.reactivate", "found"),
            ("wallets.archive", "sold"),
        ]


async def test_words_are_proven_through_a_pipe_a_file_and_a_running_engine(
    tmp_path: Path,
) -> None:
    home = await seeded(tmp_path, base_config("http://127.0.0.1:9"))
    words = tmp_path / "words"
    words.write_text(JUNK.upper())
    open_to_all = await home.run("seed", "verify", "--file", "words")
    assert (open_to_all.code, "can be read or written by other users" in open_to_all.err) == (
        1,
        True,
    )
    words.chmod(0o600)
    engine = await serving(home)
    try:
        assert (await home.run("seed", "verify", "--file", "words")).code == 0
        other = await piped(home, f"{ABANDON}\n", "seed", "verify")
        assert (other[0], "not the one of this installation" in other[2]) == (1, True)
        typo = await piped(home, JUNK.replace("junk", "jukn"), "seed", "verify")
        assert (typo[0], "word 12" in typo[2]) == (1, True)
        assert "test test" not in other[1] + other[2] + typo[1] + typo[2]
        wrong = await piped(home, "not the password\n", "seed", "unlock")
        assert (wrong[0], "wrong" in wrong[2]) == (1, True)
        assert (await piped(home, f"{PASSWORD}\n", "seed", "unlock"))[0] == 0
        beside = await piped(home, f"{JUNK}\n{PASSWORD}\n", "seed", "create", "--import")
        assert (beside[0], "stop it first" in beside[2]) == (1, True)
    finally:
        engine.terminate()
        await engine.wait()


async def test_a_new_path_asks_for_the_vault_once_and_old_addresses_stay_proven(
    tmp_path: Path,
) -> None:
    home = await seeded(tmp_path, base_config("http://127.0.0.1:9"))
    await home.run("wallets", "create", "1")
    path = {"BURSAR_WALLETS__DERIVATION__EVM": ANVIL_PATH}
    refused = await home.run("wallets", "create", "1", **path)
    assert (refused.code, "bursar seed unlock" in refused.err) == (1, True)
    assert (await home.run("seed", "status", **path)).code == 1
    assert (await piped(home, f"{PASSWORD}\n", "seed", "unlock", **path))[0] == 0
    assert (await home.run("wallets", "create", "1", **path)).code == 0
    assert [row["path"] for row in await listed(home)] == ["m/44'/60'/1'/0/0", "m/44'/60'/0'/0/1"]
    assert [row["address"] for row in await listed(home)][1] == ANVIL[1]
    status = await home.run("seed", "status", **path)
    assert (status.code, "all 2 derived again" in status.out) == (0, True)


async def test_a_watch_only_installation_gets_a_seed_later(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert (
        await home.run("--config", "bursar.toml", "init", "--data-dir", str(home.data))
    ).code == 0
    home.config.write_text(home.config.read_text() + base_config("http://127.0.0.1:9"))
    refused = await home.run("wallets", "create", "1")
    assert (refused.code, "bursar seed create" in refused.err) == (1, True)
    assert (await home.run("seed", "create")).code == 2  # nobody to ask
    code, out, err = await piped(home, f"{JUNK}\n{PASSWORD}\n", "seed", "create", "--import")
    assert code == 0, err
    assert "is in its vault" in out
    assert (await home.run("wallets", "create", "1")).code == 0
    again = await piped(home, f"{ABANDON}\n{PASSWORD}\n", "seed", "create", "--import")
    assert (again[0], "a seed here already" in again[2]) == (2, True)
    assert (await piped(home, f"{JUNK}\n", "seed", "verify"))[0] == 0


@pytest.mark.parametrize(
    ("args", "text", "code", "why"),
    [
        (("--watch-only", "--import"), "", 2, "one of --watch-only"),
        (("--words", "13"), "", 2, "12 or 24"),
        (("--words", "12", "--recovery-key"), f"{PASSWORD}\n", 2, "--recovery-key-file"),
        (("--import",), "", 1, "no line with the words"),
        (("--import",), f"{JUNK} junk\n", 1, "12 or 24 words"),
        (("--import",), f"{JUNK}\n", 1, "no line with the password"),
        (("--import",), f"{JUNK}\nPassword12345678!\n", 1, "guessable"),
        (("--import", "--password-file", "open"), f"{JUNK}\n", 1, "by other users"),
        (("--import", "--password-file", "none"), f"{JUNK}\n", 1, "is not there"),
        (("--path", "evm"), "", 2, "write evm="),
    ],
)
async def test_a_set_up_that_cannot_be_is_refused_and_leaves_nothing(
    tmp_path: Path, args: tuple[str, ...], text: str, code: int, why: str
) -> None:
    home = Home(tmp_path)
    (tmp_path / "open").write_text(PASSWORD)
    init = ("--config", "bursar.toml", "init", "--data-dir", str(home.data))
    done = await piped(home, text, *init, *args)
    assert done[0] == code, done
    assert why in done[2].replace("\n", " ")
    assert PASSWORD not in done[1] + done[2]
    assert not home.config.exists()
    assert not home.data.exists()


async def test_a_script_makes_a_seed_it_never_sees_and_a_recovery_key_in_a_file(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path)
    init = ("--config", "bursar.toml", "init", "--data-dir", str(home.data), "--words", "24")
    code, out, err = await piped(
        home, "", *init, "--recovery-key-file", "key", WALLET_BACKUP_PASSWORD=PASSWORD
    )
    assert code == 0, err
    assert "Other processes may see" in err
    assert "no terminal to show the seed's words" in err
    key = tmp_path / "key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_text().strip() not in out + err
    home.config.write_text(home.config.read_text() + base_config("http://127.0.0.1:9"))
    assert (await piped(home, key.read_text(), "seed", "unlock"))[0] == 0
    again = await piped(home, "", "--config", "y.toml", *init[2:], "--recovery-key-file", "key")
    assert (again[0], "it was not touched" in again[2]) == (2, True)


async def test_doctor_names_a_seed_that_others_could_read_or_that_was_changed(
    tmp_path: Path,
) -> None:
    home = await seeded(tmp_path, base_config("http://127.0.0.1:9"))
    await home.run("wallets", "create", "2")
    folder = home.data / "gen-0001"

    async def finding(name: str) -> tuple[str, str]:
        checks = (await home.run("doctor", "--json")).json()["checks"]
        return next((c["verdict"], c["finding"]) for c in checks if c["name"] == name)

    assert await finding("derived addresses") == (
        "good",
        "all 2 derived again from the account keys; next index 2",
    )
    vault, accounts = folder / "master-seed.enc", folder / "accounts.json"
    vault.chmod(0o640)
    verdict, words = await finding("seed")
    assert (verdict, "by other users (mode 0640)" in words) == ("bad", True)
    vault.chmod(0o600)
    whole = vault.read_bytes()
    vault.write_bytes(whole[:-1])
    assert "damaged" in (await finding("seed"))[1]
    vault.write_bytes(whole)
    kept = accounts.read_bytes()
    accounts.write_bytes(kept.replace(b"xpub", b"xpux", 1))
    assert "damaged" in (await finding("account keys"))[1]
    accounts.unlink()
    assert "is not there" in (await finding("account keys"))[1]
    assert (await piped(home, f"{PASSWORD}\n", "seed", "unlock"))[0] == 0
    assert accounts.read_bytes() == kept
    with sqlite3.connect(folder / "bursar.db") as database:
        database.execute(
            "UPDATE wallet_addresses SET address = ?, address_key = ? WHERE wallet_id = ?",
            (ANVIL[0], ANVIL[0].lower(), "agent-00001"),
        )
    verdict, words = await finding("derived addresses")
    assert (verdict, words.startswith("1 of 2 are not this seed's")) == ("bad", True)
