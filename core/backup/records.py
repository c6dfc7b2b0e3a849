"""What a backup holds: typed records, one JSON line each, and the one codec for them.

Every integer is a decimal string, exact at any size. Records have a total order (kind, then key),
and every archive is written in it: then comparing with the parent and folding a chain are merges
of sorted streams, whatever the size of the fleet. Keys are natural names, never row numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import ClassVar, TypeVar

import msgspec

from core.backup.errors import RecordError

DIGEST_BYTES = 16
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,99}")
_MOST_BITS = 332  # 100 digits at most


class Whole(int):
    """An integer that is a decimal string in JSON: amounts in base units, times in ms, counts."""

    __slots__ = ()


def whole(amount: int) -> Whole:
    """An amount for a record. Raises RecordError above 332 bits, which no reader takes."""
    if amount.bit_length() > _MOST_BITS:
        raise RecordError("An integer of more than 332 bits has no place in a backup.")
    return Whole(amount)


class Position(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Where a record stands: the rank of its kind, then its key, compared by code points."""

    rank: int
    key: tuple[str, ...]


class Record(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    tag_field="kind",
    forbid_unknown_fields=True,
    omit_defaults=True,
    gc=False,
):
    """A fact of the installation. `OBSERVED` fields, always the last ones, say when it was looked
    at: kept, but no change by themselves."""

    RANK: ClassVar[int]
    OBSERVED: ClassVar[tuple[str, ...]] = ()
    ALWAYS: ClassVar[bool] = False  # in every incremental, changed or not

    def key(self) -> tuple[str, ...]:
        """What tells it from others of its kind."""
        raise NotImplementedError


class Setting(Record, frozen=True, kw_only=True, tag="setting"):
    """A section of the configuration as JSON text. The caller leaves secrets out."""

    RANK: ClassVar[int] = 0
    name: str
    value: str

    def key(self) -> tuple[str, ...]:
        return (self.name,)


class Seed(Record, frozen=True, kw_only=True, tag="seed"):
    """`master-seed.enc` as it lies on disk: ciphertext, never the seed."""

    RANK: ClassVar[int] = 1
    ALWAYS: ClassVar[bool] = True
    fingerprint: str
    ciphertext: bytes

    def key(self) -> tuple[str, ...]:
        return ()


class DerivationBranch(Record, frozen=True, kw_only=True, tag="derivation"):
    """A branch that agents' addresses come from. `xpub` is public; `next_index` is the first
    index never handed out. New addresses come from the current branch of their kind; the others
    explain addresses that were made before."""

    RANK: ClassVar[int] = 2
    chain_kind: str
    template: str
    xpub: str
    next_index: Whole
    is_current: bool = True

    def key(self) -> tuple[str, ...]:
        return (self.chain_kind, self.template)


class ChainEntry(Record, frozen=True, kw_only=True, tag="chain"):
    """A chain of the registry."""

    RANK: ClassVar[int] = 3
    name: str
    chain_kind: str
    is_active: bool = True

    def key(self) -> tuple[str, ...]:
        return (self.name,)


class AssetEntry(Record, frozen=True, kw_only=True, tag="asset"):
    """A token on a chain; `contract` is "" for the native coin."""

    RANK: ClassVar[int] = 4
    chain: str
    symbol: str
    contract: str = ""
    name: str
    decimals: Whole
    is_active: bool = True

    def key(self) -> tuple[str, ...]:
        return (self.chain, self.symbol, self.contract)


class AgentEntry(Record, frozen=True, kw_only=True, tag="agent"):
    """An agent of the registry."""

    RANK: ClassVar[int] = 5
    agent: str
    group: str = ""
    tags: tuple[str, ...] = ()
    state: str
    watch_only: bool
    created_ms: Whole

    def key(self) -> tuple[str, ...]:
        return (self.agent,)


class Wallet(Record, frozen=True, kw_only=True, tag="wallet"):
    """An agent's address on a chain; `derivation_path` is "" for one that is only watched."""

    RANK: ClassVar[int] = 6
    agent: str
    chain: str
    address: str
    derivation_path: str = ""
    is_active: bool = True

    def key(self) -> tuple[str, ...]:
        return (self.agent, self.chain)


class Volume(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """An amount of one asset, base units, and where it is a sum, of how many transactions."""

    chain: str
    symbol: str
    contract: str
    amount: Whole
    transactions: Whole = Whole(0)


class Lifecycle(Record, frozen=True, kw_only=True, tag="lifecycle"):
    """How an agent's wallet came to its state, and what it did. Times in ms, 0: never; `since_ms`
    is when it came into its state, the others are the last of their kind."""

    RANK: ClassVar[int] = 7
    agent: str
    state: str
    since_ms: Whole
    activated_ms: Whole = Whole(0)
    last_activity_ms: Whole = Whole(0)
    transactions: Whole = Whole(0)
    volumes: tuple[Volume, ...] = ()
    reason: str = ""
    suspended_ms: Whole = Whole(0)
    archived_ms: Whole = Whole(0)

    def key(self) -> tuple[str, ...]:
        return (self.agent,)


class WalletArchive(Record, frozen=True, kw_only=True, tag="archive"):
    """An agent that was archived, with what it held then."""

    RANK: ClassVar[int] = 8
    agent: str
    archived_ms: Whole
    reason: str = ""
    balances: tuple[Volume, ...] = ()

    def key(self) -> tuple[str, ...]:
        return (self.agent,)


class Balance(Record, frozen=True, kw_only=True, tag="balance"):
    """The last known balance of an account; `amount` None: never read."""

    RANK: ClassVar[int] = 9
    OBSERVED: ClassVar[tuple[str, ...]] = ("block", "checked_ms")
    agent: str
    chain: str
    symbol: str
    contract: str = ""
    amount: Whole | None
    mark: str = ""
    reserved: Whole = Whole(0)
    changed_ms: Whole = Whole(0)
    first_seen_ms: Whole = Whole(0)
    block: Whole = Whole(0)
    checked_ms: Whole = Whole(0)

    def key(self) -> tuple[str, ...]:
        return (self.agent, self.chain, self.symbol, self.contract)


class LimitEntry(Record, frozen=True, kw_only=True, tag="limit"):
    """Floor and target of a group or an agent, base units."""

    RANK: ClassVar[int] = 10
    scope: str
    name: str
    chain: str
    symbol: str
    contract: str = ""
    floor: Whole | None = None
    target: Whole | None = None

    def key(self) -> tuple[str, ...]:
        return (self.scope, self.name, self.chain, self.symbol, self.contract)


class Threshold(Record, frozen=True, kw_only=True, tag="threshold"):
    """A settlement threshold of a peer (or "" for the default) and token, base units. `level` is
    what was set instead where that is no amount, such as "80%" of the credit limit."""

    RANK: ClassVar[int] = 11
    peer: str
    token: str
    threshold: Whole | None
    settle_to: Whole = Whole(0)
    rearm: Whole | None = None
    direction: str = "receivable"
    level: str = ""

    def key(self) -> tuple[str, ...]:
        return (self.peer, self.token)


class LedgerCheckpoint(Record, frozen=True, kw_only=True, tag="checkpoint"):
    """A part of the ledger's snapshot at its own `sequence`, read together with the rest."""

    RANK: ClassVar[int] = 12
    sequence: Whole
    part: Whole
    parts: Whole
    content: bytes

    def key(self) -> tuple[str, ...]:
        return (f"{self.part:08d}",)


class PairName(Record, frozen=True, kw_only=True, tag="pair"):
    """A peer and token that the ledger has accounts of; the ledger itself keeps only hashes."""

    RANK: ClassVar[int] = 13
    peer: str
    token: str

    def key(self) -> tuple[str, ...]:
        return (self.peer, self.token)


class Settlement(Record, frozen=True, kw_only=True, tag="settlement"):
    """How far settling with a peer has come; what is under way stands in the ledger, and this names
    it. Times in ms, amounts in base units."""

    RANK: ClassVar[int] = 14
    peer: str
    token: str
    direction: str
    version: Whole
    epoch: Whole
    attempt: Whole
    armed: bool
    told: str
    idempotency_key: str
    amount: Whole | None = None
    begun_by: str = ""
    delivered: bool = False
    retry_ms: Whole = Whole(0)
    changed_ms: Whole = Whole(0)
    reason: str = ""
    settled_ms: Whole = Whole(0)
    settled_amount: Whole | None = None

    def key(self) -> tuple[str, ...]:
        return (self.peer, self.token, self.direction)


class Gone(msgspec.Struct, frozen=True, tag_field="kind", tag="gone", forbid_unknown_fields=True):
    """Tombstone in an incremental: the parent had this record, the installation no longer does."""

    of: str
    key: tuple[str, ...]


AnyRecord = (
    Setting
    | Seed
    | DerivationBranch
    | ChainEntry
    | AssetEntry
    | AgentEntry
    | Wallet
    | Lifecycle
    | WalletArchive
    | Balance
    | LimitEntry
    | Threshold
    | LedgerCheckpoint
    | PairName
    | Settlement
)
Line = AnyRecord | Gone

KINDS: tuple[type[Record], ...] = (
    Setting,
    Seed,
    DerivationBranch,
    ChainEntry,
    AssetEntry,
    AgentEntry,
    Wallet,
    Lifecycle,
    WalletArchive,
    Balance,
    LimitEntry,
    Threshold,
    LedgerCheckpoint,
    PairName,
    Settlement,
)
KIND_NAMES = tuple(str(kind.__struct_config__.tag) for kind in KINDS)
_RANK_OF = {name: rank for rank, name in enumerate(KIND_NAMES)}


def _decode_whole(kind: type, value: object) -> object:
    if kind is Whole and isinstance(value, str) and _WHOLE.fullmatch(value):
        return Whole(value)
    raise ValueError("an integer is a decimal string")


_ENCODER = msgspec.json.Encoder(enc_hook=int.__repr__)  # of what is no JSON only `Whole` is met
_DECODER = msgspec.json.Decoder(Line, dec_hook=_decode_whole)
_OBSERVED_MARKS = tuple(
    tuple(
        f',"{kind.__struct_encode_fields__[kind.__struct_fields__.index(name)]}":"'.encode()
        for name in kind.OBSERVED
    )
    for kind in KINDS
)
_BLAKE2B = blake2b(digest_size=DIGEST_BYTES)  # to copy: that costs less than to begin one
_L = TypeVar("_L", bound=Line)


def encode(line: Line) -> bytes:
    """One line of a backup, without its line feed."""
    return _ENCODER.encode(line)


def encode_all(lines: Sequence[Line]) -> bytes:
    """The same for many, each with its line feed."""
    return _ENCODER.encode_lines(lines)


def decode(text: bytes, name: str, number: int) -> Line:
    """The inverse. Raises RecordError naming file and line, without quoting the line."""
    try:
        line: Line = _DECODER.decode(text)
    except (msgspec.DecodeError, ValueError) as error:
        raise RecordError(
            f"{name}, line {number}: {error}. The backup was written by another version of "
            "Bursar; use that version."
        ) from error
    if isinstance(line, Gone) and line.of not in _RANK_OF:
        raise RecordError(f"{name}, line {number}: a tombstone of the unknown kind {line.of!r}.")
    return line


def position(line: Line) -> Position:
    """Where a line stands in every archive."""
    if isinstance(line, Gone):
        return Position(_RANK_OF[line.of], line.key)
    return Position(line.RANK, line.key())


def digest(record: AnyRecord) -> bytes:
    """blake2b of a record's line without its observation times."""
    return digests(type(record), [encode(record)])[0]


def digests(kind: type[Record], lines: Sequence[bytes]) -> list[bytes]:
    """The same of many records of one kind, by their lines."""
    if marks := _OBSERVED_MARKS[kind.RANK]:
        lines = [line[: _unobserved(line, marks)] for line in lines]
    found = []
    for line in lines:
        one = _BLAKE2B.copy()
        one.update(line)
        found.append(one.digest())
    return found


def _unobserved(line: bytes, marks: Sequence[bytes]) -> int:
    """Where the observation times of a line begin, else its closing brace."""
    for mark in marks:
        # In a JSON string every quote is escaped, so a mark is the field and nothing else.
        if (at := line.find(mark)) >= 0:
            return at
    return len(line) - 1


def placed(lines: Iterable[_L], name: str) -> Iterator[tuple[Position, _L]]:
    """The lines with their positions. Raises RecordError where one does not stand after the one
    before it: out of order, or twice."""
    before = Position(-1, ())
    for number, line in enumerate(lines, 1):
        here = position(line)
        if here <= before:
            raise RecordError(
                f"{name}, line {number}: {KIND_NAMES[here.rank]} {'/'.join(here.key)} does not "
                "stand after the record before it."
            )
        before = here
        yield here, line


def sort_records(records: Iterable[AnyRecord]) -> list[AnyRecord]:
    """Records in the order of an archive, for fleets that fit in memory."""
    return sorted(records, key=position)
