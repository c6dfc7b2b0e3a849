"""A planted password, recovery key and phrase: everything is run, then everything is searched.

Tracebacks are rendered with the values of all locals, which is more than Bursar ever does.
"""

from __future__ import annotations

import base64
import contextlib
import io
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from rich.console import Console
from rich.traceback import Traceback

from core.model import BursarError, Secret
from core.telemetry.logs import JsonFormatter
from core.wallets import vault_file
from core.wallets.accounts import derive_accounts
from core.wallets.agents import AgentWallets
from core.wallets.bip32 import parse_path
from core.wallets.secrets import Password, RecoveryKey, SecretBytes, opener
from core.wallets.seed import Seed
from core.wallets.vault import SeedVault
from tests.wallets.fleets import Fleet, opened
from tests.wallets.vaults import QUICK, KeptMemory

# Only ever module globals: a local of this file would be found in its own tracebacks.
_PASSWORD = "canary-password-zebra-quilt-ninety"
_MISTYPED = "canary-mistyped-zebra-quilt-ninety"
_SEED = Seed.generate(12)
_RECOVERY = RecoveryKey.generate()


def _planted() -> dict[str, list[bytes]]:
    """Every form in which a secret could turn up, by what it is."""
    account = _SEED.master().walk(parse_path("m/44'/60'/1'"))
    raw = {
        "entropy": _SEED.entropy.reveal(),
        "binary seed": _SEED.stretched().reveal(),
        "master key": _SEED.master().key.reveal(),
        "account key": account.key.reveal(),
        "first agent's key": account.walk((0, 0)).key.reveal(),
        "recovery key": _RECOVERY.reveal(),
    }
    forms = {
        name: [
            secret,
            secret.hex().encode(),
            secret.hex().upper().encode(),
            base64.b64encode(secret),
            str(int.from_bytes(secret)).encode(),
            repr(secret).encode(),
        ]
        for name, secret in raw.items()
    }
    words = _SEED.words().reveal()
    forms["words"] = [
        words.encode(),
        " ".join(words.split()[:3]).encode(),
        repr(words.split()[:3])[1:-1].encode(),
    ]
    forms["password"] = [b"canary-password"]
    forms["mistyped password"] = [b"canary-mistyped"]
    forms["recovery text"] = [
        _RECOVERY.text().reveal().encode(),
        _RECOVERY.text().reveal()[:24].encode(),
    ]
    return forms


def found_in(place: bytes) -> list[str]:
    return [name for name, forms in _planted().items() if any(form in place for form in forms)]


class Spoken:
    """All that was logged and all errors, with the values of their frames' locals."""

    def __init__(self) -> None:
        self.text = io.StringIO()

    async def fails(self, action: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(BursarError) as caught:
            await action()
        self.tell(caught.value)

    def tell(self, error: BaseException) -> None:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        self.text.write("".join(told.format()))
        self.text.write(f"{error!r} {error.args!r} {vars(error)!r}")
        seen: BaseException | None = error
        while seen is not None:  # contexts that `from None` would only hide
            self.text.write(repr(seen) + repr(seen.args))
            seen = seen.__context__
        Console(file=self.text, width=400).print(
            Traceback.from_exception(
                type(error), error, error.__traceback__, show_locals=True,
                locals_max_string=10_000, locals_max_length=10_000,
            )
        )  # fmt: skip


@asynccontextmanager
async def listening(spoken: Spoken) -> AsyncIterator[None]:
    handler = logging.StreamHandler(spoken.text)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


async def use_everything(fleet: Fleet, folder: Path, spoken: Spoken) -> None:
    vault = SeedVault(folder, fleet.store, fleet.clock)
    typed = Secret(_PASSWORD)
    await spoken.fails(lambda: vault.create(_SEED, Secret(_PASSWORD[:15])))
    await vault.create(_SEED, typed, _RECOVERY, parameters=QUICK)
    await spoken.fails(lambda: vault.create(_SEED, typed, _RECOVERY, parameters=QUICK))
    await spoken.fails(lambda: vault.unlock(opener(Secret(_MISTYPED))))
    await spoken.fails(lambda: vault.unlock(opener(Secret(_RECOVERY.text().reveal()[:-1] + "x"))))
    await spoken.fails(lambda: vault.unlock(Password(typed)))  # too soon
    await fleet.clock.advance(60)
    seed = await vault.unlock(opener(_RECOVERY.text()))
    spoken.text.write(f"{seed!r} {seed} {typed!r} {vault.header()!r} {seed.master()!r}")
    spoken.text.write(repr(vars(vault)))
    assert await vault.verify(_SEED.words())
    await spoken.fails(lambda: vault.verify(Secret(_SEED.words().reveal() + "x")))
    await spoken.fails(lambda: vault.verify(Secret(_SEED.words().reveal().rpartition(" ")[0])))
    swapped = Secret(" ".join([*_SEED.words().reveal().split()[::-1][1:], "zoo"]))
    with contextlib.suppress(BursarError):  # one in sixteen has a good checksum
        await vault.verify(swapped)
    await vault.rekey(Password(typed), typed, _RECOVERY, parameters=QUICK)
    await spoken.fails(lambda: vault.rekey(Password(typed), Secret(_PASSWORD[:15])))
    whole = vault.path.read_bytes()
    vault.path.write_bytes(whole[:-1])
    await spoken.fails(lambda: vault.unlock(Password(typed)))
    vault.path.write_bytes(whole)
    wallets = AgentWallets(fleet.store, vault.accounts, fleet.clock, fleet.bus)
    created = await wallets.create(3)
    await spoken.fails(lambda: wallets.create_named([created[0].agent]))
    await spoken.fails(lambda: fleet.lifecycle.archive([created[0].agent]))


async def test_no_secret_reaches_a_log_a_traceback_a_file_the_database_or_an_event(
    tmp_path: Path,
) -> None:
    spoken = Spoken()
    folder = tmp_path / "gen"
    folder.mkdir()
    async with listening(spoken), opened(tmp_path / "bursar.db") as fleet:
        await use_everything(fleet, folder, spoken)
        events = repr(await fleet.events())
    assert found_in(events.encode()) == []
    assert found_in(spoken.text.getvalue().encode()) == []
    assert "not opened" in spoken.text.getvalue()  # the log was listened to
    assert "********" in spoken.text.getvalue()  # and locals were rendered
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3
    for path in files:
        assert found_in(path.read_bytes()) == [], path


async def test_a_crash_in_the_middle_of_opening_shows_no_secret() -> None:
    spoken = Spoken()
    content = vault_file.seal(_SEED, Password(Secret(_PASSWORD)), _RECOVERY, 7, QUICK)
    vault = vault_file.parse(content, "x")

    class Interrupting(Password):
        """Stands for a signal that arrives while the key is being derived."""

        def reveal(self) -> bytes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        vault_file.unseal(vault, Interrupting(Secret(_PASSWORD)), "x")
    spoken.tell(caught.value)

    class Defective(Seed):
        """A defect after the seed was opened."""

        def stretched(self, passphrase: bytes = b"") -> SecretBytes:
            raise RuntimeError("out of order")

    with pytest.raises(RuntimeError) as defect:
        derive_accounts(Defective(_SEED.entropy))
    spoken.tell(defect.value)
    assert found_in(spoken.text.getvalue().encode()) == []


def test_the_search_finds_what_it_looks_for() -> None:
    """Otherwise the tests above could not fail."""
    memory = KeptMemory()
    memory.texts["leak"] = _SEED.words().reveal()
    spoken = Spoken()
    try:
        plain = _PASSWORD
        raise ValueError(len(plain))
    except ValueError as error:
        spoken.tell(error)
    assert found_in(spoken.text.getvalue().encode()) == ["password"]
    assert found_in(repr(memory.texts).encode()) == ["words"]
    for name in ("entropy", "recovery key", "account key"):
        assert found_in(_planted()[name][1]) == [name]
