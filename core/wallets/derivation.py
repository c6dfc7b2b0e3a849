"""Addresses from account xpubs, by the ten thousand: EVM, XRPL (secp256k1) and TRON.

An address needs one HMAC and one point addition below a parent that is decoded once. Batches run
in a thread in slices, so that the loop goes on and progress can be told. Sources: BIP-32, BIP-44;
XRPL "Address Derivation"; TRON "Account address format".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from core.chains.addresses import AddressError, parse_address
from core.chains.base58 import tron_address, xrpl_address
from core.model import ChainKind
from core.wallets.accounts import INDEX, Accounts, AccountsError, Template
from core.wallets.bip32 import (
    HARDENED,
    DerivationError,
    ExtendedPublicKey,
    Parent,
    hash160,
    parse_path,
)

if TYPE_CHECKING:
    from coincurve import PublicKey

T = TypeVar("T")
R = TypeVar("R")
Progress = Callable[[int, int], None]
_SLICE: Final = 200  # some 20 ms of work


class Derived(msgspec.Struct, frozen=True):
    """An address (as `core.chains.addresses` normalises it) and the path it was derived by."""

    kind: ChainKind
    index: int
    address: str
    path: str


class Claim(msgspec.Struct, frozen=True):
    """An address that is said to lie at a path."""

    kind: ChainKind
    address: str
    path: str


class Mismatch(msgspec.Struct, frozen=True):
    """A claim that does not hold. `derived` is what lies at the path, "" where nothing here can
    derive it; `reason` says it in words."""

    claim: Claim
    derived: str
    reason: str


class Deriver:
    """Derives by the keys of one `Accounts`; parents are made once and kept."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self._keys = {
            (key.kind, Template.parse(key.template).account): key.xpub for key in accounts.keys
        }
        self._parents: dict[tuple[ChainKind, tuple[int, ...]], Parent] = {}
        self._heads: dict[tuple[ChainKind, str], Parent] = {}

    def derive(self, kind: ChainKind, index: int) -> Derived:
        """The address of a new agent. Raises DerivationError."""
        text = self.accounts.current(kind).template
        template = Template.parse(text)
        parent = self._parent(kind, template.account, template.public)
        return Derived(kind, index, _address(kind, parent, index), text.replace(INDEX, str(index)))

    def address_at(self, kind: ChainKind, path: str) -> str:
        """The address at a path that was stored with a wallet. Raises DerivationError, and
        AccountsError where the path begins with no account whose key is kept here."""
        return _address(kind, *self._at(kind, path))

    def lies_at(self, kind: ChainKind, path: str, address: str) -> bool:
        """Whether the address, in its normal form, is the one at that path. For EVM the account is
        compared: its letters' case is a checksum, and costs as much again. Raises as
        `address_at`."""
        parent, index = self._at(kind, path)
        if kind is ChainKind.EVM:
            return "0x" + _account(parent, index).hex() == address.lower()
        return _address(kind, parent, index) == address

    def _at(self, kind: ChainKind, path: str) -> tuple[Parent, int]:
        """The parent and the index that a path names."""
        head, _, last = path.rpartition("/")
        parent = self._heads.get((kind, head))
        if parent is not None and last.isascii() and last.isdecimal():
            return parent, int(last)
        steps = parse_path(path)
        hardened = max((n for n, step in enumerate(steps, 1) if step >= HARDENED), default=0)
        if hardened == len(steps):
            raise DerivationError(f"{path!r} ends in no index; an xpub gives no address there.")
        parent = self._heads[kind, head] = self._parent(kind, steps[:hardened], steps[hardened:-1])
        return parent, steps[-1]

    def _parent(self, kind: ChainKind, account: tuple[int, ...], public: tuple[int, ...]) -> Parent:
        parent = self._parents.get((kind, account + public))
        if parent is None:
            xpub = self._keys.get((kind, account))
            if xpub is None:
                raise AccountsError(
                    f"No {kind} account key for this path is kept here; the seed's password "
                    "is needed to derive it."
                )
            key = ExtendedPublicKey.parse(xpub)
            for step in public:
                key = key.child(step)
            parent = self._parents[kind, account + public] = Parent(key)
        return parent


async def batch_derive(
    deriver: Deriver,
    kinds: Sequence[ChainKind],
    indices: Sequence[int],
    progress: Progress | None = None,
) -> list[Derived]:
    """Addresses of every kind at every index, by index, then in the order of `kinds`. `progress`
    is called on the loop with addresses done and in all. Raises DerivationError."""
    wanted = [(kind, index) for index in indices for kind in kinds]
    return await _in_slices(wanted, lambda pair: deriver.derive(*pair), progress)


async def check_claims(
    deriver: Deriver, claims: Sequence[Claim], progress: Progress | None = None
) -> list[Mismatch]:
    """Re-derive every address and compare. Empty: all of them are this seed's."""
    found = await _in_slices(claims, lambda claim: mismatch_of(deriver, claim), progress)
    return [mismatch for mismatch in found if mismatch is not None]


async def _in_slices(
    items: Sequence[T], work: Callable[[T], R], progress: Progress | None
) -> list[R]:
    done: list[R] = []
    for start in range(0, len(items), _SLICE):
        part = items[start : start + _SLICE]
        done += await asyncio.to_thread(_each, part, work)
        if progress is not None:
            progress(len(done), len(items))
    return done


def _each(items: Iterable[T], work: Callable[[T], R]) -> list[R]:
    return [work(item) for item in items]


def mismatch_of(deriver: Deriver, claim: Claim) -> Mismatch | None:
    """What is wrong with a claim, None where it holds."""
    try:
        if deriver.lies_at(claim.kind, claim.path, claim.address):
            return None
        derived = deriver.address_at(claim.kind, claim.path)
        if derived == parse_address(claim.kind, claim.address):
            return None
    except (DerivationError, AddressError) as error:
        return Mismatch(claim, "", str(error))
    return Mismatch(claim, derived, f"{claim.path} derives {derived}, not {claim.address}")


def _address(kind: ChainKind, parent: Parent, index: int) -> str:
    if kind is ChainKind.XRPL:
        return xrpl_address(hash160(_point(parent, index).format()))
    account = _account(parent, index)
    return tron_address(account) if kind is ChainKind.TRON else _checksum(account)


def _account(parent: Parent, index: int) -> bytes:
    """The 20 bytes of an EVM or TRON account."""
    return _keccak_of(_point(parent, index))[-20:]


def _point(parent: Parent, index: int) -> PublicKey:
    if not 0 <= index < HARDENED:
        raise DerivationError(f"Index {index} is outside 0 to {HARDENED - 1}.")
    return parent.child(index)[0]


def _checksum(account: bytes) -> str:
    from core.chains.evm.address import checksum

    return checksum("0x" + account.hex())


def _keccak_of(point: PublicKey) -> bytes:
    from core.chains.evm.address import keccak256

    return keccak256(point.format(compressed=False)[1:])
