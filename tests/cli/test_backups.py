"""`bursar backup`: from setup to a proven copy, as an operator or a timer runs it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from core.backup.archive import open_with
from core.backup.keyring import read_key_file
from core.backup.keys import unlock
from core.model import Secret
from core.wallets.secrets import Password, RecoveryKey
from tests.cli.shell import Home
from tests.engine.backed_up import CHAIN

PASSWORD = "orbit-lantern-copper-maple-drift-quilt-seven"
OTHER = "violin-thunder-basil-anchor-meadow-frost-nine"
AGENTS = "agent,chain,address\n" + "".join(
    f"agent-{n},base,0x{n:040x}\n" for n in range(1, 6)
)  # fmt: skip


def home_of(tmp_path: Path, more: str = "") -> Home:
    """A configured home with an import and a password in a file."""
    home = Home(tmp_path)
    home.write_config(CHAIN + more)
    (tmp_path / "agents.csv").write_text(AGENTS)
    secret(tmp_path / "password", PASSWORD)
    return home


def secret(path: Path, text: str) -> None:
    """A file that only its owner reads."""
    path.touch(0o600)
    path.write_text(text + "\n")


async def set_up(home: Home) -> None:
    """Five agents and a backup key."""
    assert (await home.run("wallets", "import", "agents.csv")).code == 0
    made = await home.run("backup", "setup", "--password-file", "password")
    assert made.code == 0, made.err


async def test_from_setup_to_a_proven_backup(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    refused = await home.run("backup", "create")
    assert refused.code == 1
    assert "bursar backup setup" in refused.err
    await set_up(home)
    ring = home.data / "backup-key.json"
    assert ring.stat().st_mode & 0o777 == 0o600
    assert unlock(read_key_file(ring).slots, Password(Secret(PASSWORD)),
                  read_key_file(ring).install_id) == read_key_file(ring).key  # fmt: skip
    again = await home.run("backup", "setup", "--password-file", "password")
    assert (again.code, "already" in again.err) == (2, True)

    full = await home.run("backup", "create")
    assert full.code == 0, full.err
    assert "5 wallets" in full.out
    more = await home.run("backup", "create", "--incremental", "--json")
    assert (more.code, more.json()["changed"]) == (0, 1)
    both = await home.run("backup", "create", "--full", "--incremental")
    assert both.code == 2

    rows = (await home.run("backup", "list", "--json")).json()
    assert [row["type"] for row in rows] == ["incremental", "full"]
    assert [row["chainLength"] for row in rows] == [2, 1]
    assert all(row["verifiedAt"] for row in rows)
    listed = await home.run("backup", "list")
    assert all(row["id"] in listed.out for row in rows)

    verified = await home.run("backup", "verify", rows[1]["id"][:13])
    assert (verified.code, "1 copy of 1 archive decrypted" in verified.out) == (0, True)
    nowhere = await home.run("backup", "verify", "ffff")
    assert (nowhere.code, "There is no backup ffff" in nowhere.err) == (1, True)

    shown = (await home.run("backup", "show", rows[0]["id"], "--json")).json()
    assert {"version", "timestamp", "type", "encryptedMasterSeed", "wallets", "lifecycleRecords",
            "balanceSnapshots", "checksum"} == set(shown)  # fmt: skip
    assert len(shown["wallets"]) == 5
    facts = await home.run("backup", "show", rows[0]["id"])
    assert f"parentId: {rows[1]['id']}" in facts.out
    assert "local: stored and read back" in facts.out


async def test_the_setup_makes_the_first_backup_too_where_it_is_told_to(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    assert (await home.run("wallets", "import", "agents.csv")).code == 0
    made = await home.run("backup", "setup", "--create", "--password-file", "password")
    assert made.code == 0, made.err
    assert "Wrote the backup key" in made.out
    assert "5 wallets" in made.out
    [row] = (await home.run("backup", "list", "--json")).json()
    assert (row["type"], bool(row["verifiedAt"])) == ("full", True)
    ring = read_key_file(home.data / "backup-key.json")
    with (home.data / "backups" / row["name"]).open("rb") as file:
        _, key = open_with(file, row["name"], Password(Secret(PASSWORD)))
    assert key == ring.key


async def test_a_first_backup_that_fails_leaves_the_key_and_comes_later(tmp_path: Path) -> None:
    away = tmp_path / "usb" / "backups"
    home = home_of(tmp_path, f'[[backup.destination]]\nname = "usb"\npath = "{away}"\n')
    made = await home.run("backup", "setup", "--create", "--password-file", "password")
    assert (made.code, "Wrote the backup key" in made.out) == (3, True)
    assert "usb" in made.err
    away.parent.mkdir()
    sent = await home.run("backup", "create")
    assert sent.code == 0, sent.err


async def test_a_damaged_copy_is_named_and_the_command_fails(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    await set_up(home)
    await home.run("backup", "create")
    [row] = (await home.run("backup", "list", "--json")).json()
    path = home.data / "backups" / row["name"]
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    failed = await home.run("backup", "verify")
    assert failed.code == 1
    assert "Backup checksum validation failed" in failed.err
    assert row["name"] in failed.err


async def test_one_destination_that_fails_is_exit_code_3_and_is_sent_by_the_next_run(
    tmp_path: Path,
) -> None:
    away = tmp_path / "usb" / "backups"
    place = f'[[backup.destination]]\nname = "usb"\npath = "{away}"\n'
    home = home_of(tmp_path, '[[backup.destination]]\nname = "local"\n' + place)
    await set_up(home)
    partial = await home.run("backup", "create")
    assert partial.code == 3, partial
    assert "usb: cannot write" in partial.err
    [row] = (await home.run("backup", "list", "--json")).json()
    assert [d["state"] for d in row["destinations"]] == ["stored and read back", "pending"]
    away.parent.mkdir()
    state = home.data / "backup-state" / "catalogue" / f"{row['id']}.json"
    entry = json.loads(state.read_text())
    entry["copies"]["usb"]["nextTryMs"] = 0  # a minute has passed
    state.write_text(json.dumps(entry))
    sent = await home.run("backup", "run-due")
    assert sent.code == 0, sent.err
    assert (away / row["name"]).read_bytes() == (home.data / "backups" / row["name"]).read_bytes()
    assert list((home.data / "backup-state" / "spool").glob("*.bursar")) == []


async def test_all_destinations_required_and_one_failing_is_a_failure(tmp_path: Path) -> None:
    place = f'[[backup.destination]]\nname = "usb"\npath = "{tmp_path}/usb/backups"\n'
    more = '[backup]\nrequire = "all"\n[[backup.destination]]\nname = "local"\n' + place
    home = home_of(tmp_path, more)
    await set_up(home)
    failed = await home.run("backup", "create")
    assert (failed.code, "require = all" in failed.err) == (1, True)
    events = (await home.run("export", "events")).out
    assert '"operation":"deliver"' in events.replace(" ", "")


async def test_two_timers_at_once_make_one_backup(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    await set_up(home)
    both = await asyncio.gather(*(home.run("backup", "run-due") for _ in range(2)))
    assert [done.code for done in both] == [0, 0], both
    assert sum("Made full backup" in done.out for done in both) == 1
    assert sum("Nothing is due" in done.out for done in both) == 1
    assert len((await home.run("backup", "list", "--json")).json()) == 1


async def test_prune_says_first_and_keeps_what_must_stay(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    await set_up(home)
    for _ in range(2):
        await home.run("backup", "create")
    dry = await home.run("backup", "prune", "--dry-run")
    assert (dry.code, "0 of 2 backups would be deleted." in dry.out) == (0, True)
    done = await home.run("backup", "prune", "--json")
    assert (done.code, done.json()["changed"]) == (0, 0)
    assert len((await home.run("backup", "list", "--json")).json()) == 2


async def test_a_lost_catalogue_is_listed_again_before_the_next_backup(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    await set_up(home)
    await home.run("backup", "create")
    [before] = (await home.run("backup", "list", "--json")).json()
    for path in (home.data / "backup-state" / "catalogue").iterdir():
        path.unlink()
    proven = await home.run("backup", "verify", before["id"])
    assert proven.code == 0, proven.err
    made = await home.run("backup", "create", "--incremental")
    assert made.code == 0, made.err
    rows = (await home.run("backup", "list", "--json")).json()
    assert [(row["type"], row["parentId"]) for row in rows] == [
        ("incremental", before["id"]),
        ("full", None),
    ]


async def test_rekey_gives_old_and_new_backups_the_new_password(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    await set_up(home)
    await home.run("backup", "create")
    secret(tmp_path / "new", OTHER)
    files = ("--password-file", "password", "--new-password-file", "new")
    wrong = await home.run("backup", "rekey", *files[2:], "--password-file", "new")
    assert (wrong.code, "password is wrong" in wrong.err) == (1, True)
    done = await home.run("backup", "rekey", *files, "--recovery-key-file", "recovery")
    assert done.code == 0, done.err
    assert "keep the old password" in done.err
    ring = read_key_file(home.data / "backup-key.json")
    recovery = RecoveryKey.parse(Secret((tmp_path / "recovery").read_text()))
    assert unlock(ring.slots, recovery, ring.install_id) == ring.key
    archives = sorted((home.data / "backups").glob("*.bursar"))
    assert len(archives) == 2  # the old one with new slots, and a full with the seed of now
    opener = Path(__file__).parents[2] / "docs" / "open_backup.py"
    for number, archive in enumerate(archives):
        out = tmp_path / f"records-{number}"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(opener), str(archive), "--out", str(out), "--password-stdin",
            stdin=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await process.communicate(f"{OTHER}\n".encode())
        assert process.returncode == 0
        assert out.read_text().count('"kind":"wallet"') == 5
    assert (await home.run("backup", "verify")).code == 0


async def test_doctor_looks_at_key_destinations_and_age(tmp_path: Path) -> None:
    place = f'[[backup.destination]]\nname = "usb"\npath = "{tmp_path}/usb/backups"\n'
    home = home_of(tmp_path, '[[backup.destination]]\nname = "local"\n' + place)
    await set_up(home)

    async def checks(name: str) -> list[tuple[str, str]]:
        found = (await home.run("doctor", "--json")).json()["checks"]
        return [(c["verdict"], c["finding"]) for c in found if c["name"].startswith(name)]

    [(verdict, said)] = await checks("backup key")
    assert (verdict, "opened by password" in said) == ("good", True)
    [(local, said), (usb, why)] = await checks("backup destination")
    assert (local, "can be read and written, 0 backups" in said) == ("good", True)
    assert (usb, "usb: cannot make" in why) == ("bad", True)
    assert await checks("backups") == [("note", "there is none yet")]
    (tmp_path / "usb").mkdir()
    await home.run("backup", "create")
    [(verdict, said)] = await checks("backups")
    assert (verdict, said.startswith("1, the newest of"), "verified" in said) == (
        "good",
        True,
        True,
    )
    assert [verdict for verdict, _ in await checks("backup destination")] == ["good", "good"]
    assert not list((tmp_path / "usb" / "backups").glob("*doctor*"))
    (home.data / "backup-key.json").chmod(0o644)
    [(verdict, said)] = await checks("backup key")
    assert (verdict, "chmod 600" in said) == ("bad", True)
