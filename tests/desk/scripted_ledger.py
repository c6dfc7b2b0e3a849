"""The scripted engine's ledger: peers in every state, books that balance, custody that differs.

The world is fixed like the rest: no limit, near it, at it and over it, in flight and in transit,
below zero, huge figures, and names that try to be markup or a terminal escape.
"""

from __future__ import annotations

from core.api import CustodyView, LedgerView, PeerView, TransferView, TrialView
from core.model import Amount

NOW_MS = 1_795_176_251_000
HOSTILE_PEER = "[b]peer[/b]\x1b[2J\u202e"
WIDE_PEER = "取引先-大阪"


def ledger() -> LedgerView:
    """An embedded ledger that is well."""
    return LedgerView(
        "embedded ledger (journal: /var/lib/bursar/gen-0001/ledger)",
        journal_bytes=4_404_019,
        commits=184_201,
        syncs=9_120,
        last_sync_ms=NOW_MS - 3_000,
        last_snapshot_ms=NOW_MS - 12 * 60_000,
    )


def _peer(
    peer: str,
    token: str,
    receivable: int,
    payable: int,
    limit: int | None,
    flight: tuple[int, int] = (0, 0),
    transit: tuple[int, int] = (0, 0),
) -> PeerView:
    room = None if limit is None else max(0, limit - receivable - flight[0])
    return PeerView(
        peer,
        token,
        Amount(receivable),
        Amount(payable),
        Amount(flight[0]),
        Amount(flight[1]),
        Amount(transit[0]),
        Amount(transit[1]),
        None if limit is None else Amount(limit),
        None if room is None else Amount(room),
    )


def peers() -> tuple[PeerView, ...]:
    """Nine pairs of eight peers in two tokens."""
    return (
        _peer("connector-a", "USD", 412_000, 98_500, 1_000_000, (12_500, 0)),
        _peer("connector-b", "USD", 861_250, 0, 1_000_000),
        _peer("connector-b", "EUR", 0, 4_200_000, 500_000, (0, 33_000)),
        _peer("market-east", "USD", 500_000, 120_000, 500_000),
        _peer("market-west", "EUR", 540_000, 0, 500_000, (1_000, 0)),
        _peer("relay-07", "USD", 2_500_000_000_000_000, 1, None),
        _peer("settler", "USD", 300_000, 250_000, 2_000_000, (0, 0), (300_000, 50_000)),
        _peer(WIDE_PEER, "EUR", -1_500, 700, 10_000),
        _peer(HOSTILE_PEER, "USD", 7, 7, 0),
    )


def trial() -> tuple[TrialView, ...]:
    """Every ledger at zero."""
    return (
        TrialView(1, "USD", 41, Amount(9_120_400), Amount(9_120_400), Amount(12_500),
                  Amount(12_500)),
        TrialView(2, "EUR", 23, Amount(5_002_700), Amount(5_002_700), Amount(34_000),
                  Amount(34_000)),
        TrialView(1_000_001, "base:ETH", 66, Amount(10**20), Amount(10**20), Amount(0), Amount(0)),
        TrialView(1_000_002, "base:USDC@0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913", 66,
                  Amount(88_000_000), Amount(88_000_000), Amount(0), Amount(0)),
        TrialView(1_000_003, "xrpl:XRP", 34, Amount(77), Amount(77), Amount(0), Amount(0)),
    )  # fmt: skip


def unbalanced() -> tuple[TrialView, ...]:
    """The same with ten units of USD too many on one side."""
    first, *rest = trial()
    wrong = TrialView(1, "USD", 41, Amount(first.debits + 10), first.credits, first.debits_pending,
                      first.credits_pending)  # fmt: skip
    return (wrong, *rest)


def custody(accounts: dict[tuple[str, int], int]) -> tuple[CustodyView, ...]:
    """What differs, for accounts by (agent, asset): unexplained, booked as seen, pending, unread
    and too large."""
    return (
        CustodyView(accounts["agent-0006", 2], "unexplained", 38_412_118, Amount(0),
                    Amount(12_400_000), Amount(-12_400_000), Amount(-12_400_000), 38_411_900),
        CustodyView(accounts["agent-0003", 1], "unexplained", 38_412_118, Amount(5 * 10**17 - 1),
                    Amount(5 * 10**17), Amount(-1), Amount(-1), 38_412_001, booked=True),
        CustodyView(accounts["agent-0031", 5], "pending", 61_204_118, Amount(12_440_000),
                    Amount(15_640_000), Amount(-3_200_000), Amount(0), 61_204_102),
        CustodyView(accounts["agent-0018", 1], "unread", 0,
                    reason="execution reverted without a reason"),
        CustodyView(accounts["agent-0024", 2], "too large", 38_412_118, Amount(2**256 - 1),
                    reason="the amount is beyond 2^128 - 1 base units, which no ledger account "
                           "can hold"),
    )  # fmt: skip


def transfers(peer: str, token: str, count: int = 450) -> tuple[TransferView, ...]:
    """A pair's transfers, newest first: packets both ways, two prepared, a settlement; three in
    every millisecond, so that no page ends between two moments."""
    found: list[TransferView] = []
    for number in range(count):
        kind, side, note = "packet in", "receivable", "completed"
        amount = 1_000 + number * 7
        if number % 3 == 1:
            kind, side, amount = "packet out", "payable", 990 + number * 7
        if number % 40 == 20:
            kind, side, amount, note = "settlement", "receivable", -25_000, ""
        if number == 5:
            note = "taken back"
        found.append(
            TransferView(
                NOW_MS - 4_000 - number // 3 * 21_000,
                f"{(count - number) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}",
                peer,
                token,
                side,
                kind,
                Amount(amount),
                number < 2,
                "lapses after 30 s" if number < 2 else note,
            )
        )
    return tuple(found)
