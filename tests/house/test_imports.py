"""What importing a room costs, and whom it brings along; each in a process of its own."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import core

ROOMS = sorted(module.name for module in pkgutil.iter_modules(core.__path__, "core."))
SCREEN = ("textual", "rich", "tui")
HEAVY = ("web3", "xrpl", "eth_account")


def loaded_after(statement: str, names: tuple[str, ...]) -> list[str]:
    """Which of `names` are in sys.modules after the statement, in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint([n for n in {names!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    found: list[str] = eval(done.stdout.splitlines()[-1])  # our own list's repr
    return found


def modules_of(room: str) -> list[str]:
    package = __import__(room, fromlist=["x"])
    if not hasattr(package, "__path__"):
        return [room]
    return [room, *(m.name for m in pkgutil.walk_packages(package.__path__, f"{room}."))]


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_of_core_brings_a_screen_or_web3_or_xrpl(room: str) -> None:
    modules = [name for name in modules_of(room) if not name.endswith("__main__")]
    assert loaded_after(f"import {', '.join(modules)}", SCREEN + HEAVY) == []


def test_help_loads_neither_web3_nor_xrpl_nor_a_server() -> None:
    statement = (
        "import sys\nsys.argv = ['bursar', '--help']\nfrom tui.cli import app\n"
        "try:\n    app()\nexcept SystemExit:\n    pass"
    )
    assert loaded_after(statement, (*HEAVY, "aiohttp", "textual")) == []


def test_the_desk_is_imported_without_what_only_an_engine_needs() -> None:
    statement = "import tui.cli, tui.cli.desk, tui.app"
    late = (*HEAVY, "aiohttp", "plotext", "aiosqlite", "httpx", "prometheus_client")
    assert loaded_after(statement, late) == []


def test_the_engine_is_imported_without_web3_and_xrpl() -> None:
    statement = "import core.engine, core.chains.evm, core.chains.xrpl, core.chains.tron"
    assert loaded_after(statement, HEAVY) == []


def test_the_services_of_an_engine_bring_no_cryptography_before_something_is_sealed() -> None:
    statement = "import core.engine.restoring, core.engine.backing, core.engine.walleting"
    assert loaded_after(statement, ("cryptography", "argon2")) == []
