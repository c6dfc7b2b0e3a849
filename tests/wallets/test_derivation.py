"""Batches of addresses: complete, fast, told about, and never in the loop's way."""

from __future__ import annotations

import asyncio

import pytest

from core.model import ChainKind, Secret
from core.wallets.accounts import DEFAULT_TEMPLATES, Accounts, AccountsError, derive_accounts
from core.wallets.bip32 import HARDENED, DerivationError
from core.wallets.derivation import Claim, Deriver, batch_derive, check_claims
from core.wallets.seed import Seed
from tests.wallets.vectors import ABANDON, JUNK

KINDS = tuple(ChainKind)


def deriver(words: str = JUNK) -> Deriver:
    return Deriver(derive_accounts(Seed.from_words(Secret(words))))


async def test_ten_thousand_agents_on_three_chains_are_derived_and_never_hold_up_the_loop() -> None:
    told: list[tuple[int, int]] = []
    turns = 0
    done = asyncio.Event()

    async def beat() -> None:
        nonlocal turns
        while not done.is_set():
            await asyncio.sleep(0.001)
            turns += 1

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(beat())
        derived = await batch_derive(
            deriver(), KINDS, range(10_000), lambda n, of: told.append((n, of))
        )
        done.set()
    assert len({d.address for d in derived}) == 30_000
    assert turns > 20  # of everybody else, while it goes on
    assert told[-1] == (30_000, 30_000)
    assert [n for n, _ in told] == sorted({n for n, _ in told})
    assert len(told) > 100


async def test_a_batch_is_what_one_at_a_time_derives() -> None:
    one = deriver()
    batch = await batch_derive(deriver(), KINDS, [5, 0, 700])
    assert batch == [one.derive(kind, index) for index in (5, 0, 700) for kind in KINDS]
    for d in batch:
        assert one.address_at(d.kind, d.path) == d.address


async def test_a_batch_can_be_given_up_between_slices() -> None:
    told: list[int] = []
    begun = asyncio.Event()

    def tell(done: int, _: int) -> None:
        told.append(done)
        begun.set()

    task = asyncio.create_task(batch_derive(deriver(), KINDS, range(100_000), tell))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told[-1] < 300_000


@pytest.mark.parametrize("index", [-1, HARDENED, HARDENED + 1])
async def test_an_index_that_no_xpub_reaches_is_refused(index: int) -> None:
    with pytest.raises(DerivationError):
        deriver().derive(ChainKind.EVM, index)


async def test_claims_are_held_to_the_keys_and_wrong_ones_named() -> None:
    own = deriver()
    right = [Claim(d.kind, d.address, d.path) for d in await batch_derive(own, KINDS, range(300))]
    evm = own.derive(ChainKind.EVM, 1)
    wrong = [
        Claim(ChainKind.EVM, evm.address, "m/44'/60'/1'/0/2"),
        Claim(ChainKind.XRPL, deriver(ABANDON).derive(ChainKind.XRPL, 0).address,
              "m/44'/144'/1'/0/0"),
        Claim(ChainKind.EVM, evm.address, "m/44'/60'/7'/0/1"),
        Claim(ChainKind.EVM, evm.address, "m/44'/60'/1'"),
        Claim(ChainKind.EVM, evm.address, "nonsense"),
        Claim(ChainKind.TRON, "no address", "m/44'/195'/1'/0/0"),
    ]  # fmt: skip
    assert await check_claims(own, right) == []
    found = await check_claims(own, [*right, *wrong])
    assert [mismatch.claim for mismatch in found] == wrong
    assert found[0].derived == own.derive(ChainKind.EVM, 2).address
    assert "password is needed" in found[2].reason


@pytest.mark.parametrize(
    "template",
    [
        "m/44'/60'/1'/0",
        "m/44'/60'/1'/0/{index}'",
        "m/44'/60'/{index}/0",
        "m/44'/60'/{index}/{index}",
        "m/0/{index}",
        "44'/60'/1'/0/{index}",
        "m/44'/60'/x/{index}",
        "{index}",
        "",
    ],
)
def test_a_template_that_would_not_give_addresses_from_an_xpub_is_refused(template: str) -> None:
    with pytest.raises(DerivationError):
        derive_accounts(Seed.generate(), {ChainKind.EVM: template})


def test_a_template_may_put_its_hardened_steps_anywhere_above_the_index() -> None:
    seed = Seed.from_words(Secret(JUNK))
    by = {ChainKind.EVM: "m/44'/60'/{index}", ChainKind.TRON: "m/1/2'/3/4/{index}"}
    own = Deriver(derive_accounts(seed, by))
    for kind in by:
        derived = own.derive(kind, 9)
        assert own.address_at(kind, derived.path) == derived.address


def test_a_kind_without_an_account_key_is_an_error_that_says_so() -> None:
    seed = Seed.generate()
    own = Deriver(derive_accounts(seed, {ChainKind.EVM: DEFAULT_TEMPLATES[ChainKind.EVM]}))
    with pytest.raises(AccountsError, match="no tron account key"):
        own.derive(ChainKind.TRON, 0)
    with pytest.raises(AccountsError, match="another seed"):
        derive_accounts(seed, before=Accounts("00" * 20, ()))
