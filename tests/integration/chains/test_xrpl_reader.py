"""XrplReader against a rippled-shaped server: right values, one ledger, every special state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.chains.xrpl import XrplReader
from core.demo.protocol import Fault
from core.demo.rippled import RippledServer
from core.demo.rippled_replies import TrustLine, lines_from
from core.model import Asset, BlockRef, Consistency, Reading, Request, Unknown, Value
from tests.integration.chains.ledgers import XRP, Faults, Kept, Ledger, RealClock, xrpl_account

ISSUER = xrpl_account(900)
OTHER_ISSUER = xrpl_account(901)
USD = Asset(11, "xrpl", "USD", "US Dollar", 6, contract=ISSUER)
RLUSD = Asset(12, "xrpl", "RLUSD", "Ripple USD", 18, contract=OTHER_ISSUER)
RLUSD_CODE = "524C555344000000000000000000000000000000"


@asynccontextmanager
async def reading_from(*servers: RippledServer, **options: float) -> AsyncIterator[XrplReader]:
    reader = XrplReader(
        "xrpl",
        [server.url for server in servers],
        RealClock(),
        Kept(),
        interval_s=options.get("interval_s", 10.0),
        requests_per_second=options.get("requests_per_second"),
        timeout_s=options.get("timeout_s", 5.0),
        longest_sweep_s=options.get("longest_sweep_s", 600.0),
    )
    await reader.open()
    try:
        yield reader
    finally:
        await reader.close()


def natives(count: int) -> list[Request]:
    return [Request(xrpl_account(n), XRP) for n in range(count)]


async def test_ten_thousand_accounts_are_read_at_one_ledger_hash() -> None:
    ledger = Ledger()
    ledger.close({(xrpl_account(n), None): 20_000_000 + n for n in range(10_000)})
    async with RippledServer(ledger, Faults()) as server, reading_from(server) as reader:
        asked = natives(10_000)
        moving = asyncio.create_task(close_ledgers(ledger, xrpl_account(7)))
        reading = await reader.read(asked)
        moving.cancel()
        pinned = ledger.block(reading.block.number)
        assert pinned is not None
        assert reading.block.hash == pinned.hash
        assert ledger.head().number > pinned.number + 5, "the ledger moved on meanwhile"
        assert reading.consistency is Consistency.PINNED
        assert reading.amounts == [
            ledger.balance(request.address, None, pinned.number) for request in asked
        ]
        assert reading.reasons == {}
        assert server.served == 10_000
        assert server.connections == 1


async def close_ledgers(ledger: Ledger, account: str) -> None:
    """Ledgers go on closing while a sweep runs, each with another balance."""
    drops = 1
    while True:
        ledger.close({(account, None): drops})
        drops += 1
        await asyncio.sleep(0.005)


async def test_an_account_without_a_root_is_zero_and_marked_not_activated() -> None:
    ledger = Ledger()
    ledger.close({(xrpl_account(0), None): 5_000_000})
    async with RippledServer(ledger, Faults()) as server, reading_from(server) as reader:
        reading = await reader.read(natives(2))
        assert reading[0] == Value(5_000_000, reserved=1_000_000)
        assert reading[1] == Value(0, mark="not activated")


async def test_the_reserve_follows_the_fee_vote_and_the_objects_owned() -> None:
    ledger = Ledger()
    rich, poor = xrpl_account(0), xrpl_account(1)
    ledger.close({(rich, None): 50_000_000, (poor, None): 1_100_000})
    ledger.own(rich, 3)
    ledger.own(poor, 2)
    async with RippledServer(ledger, Faults()) as server, reading_from(server) as reader:
        asked = natives(2)
        reading = await reader.read(asked)
        assert reading.reserved == {0: 1_600_000, 1: 1_100_000}, "never more than there is"
        server.fees.reserve_base, server.fees.reserve_inc = 20_000_000, 5_000_000
        ledger.close()
        reading = await reader.read(asked)
        assert reading.reserved == {0: 35_000_000, 1: 1_100_000}


def many_lines(account: str, number: int) -> list[TrustLine]:
    """Hundreds of lines of strangers, the wanted ones on the last pages."""
    strangers = [TrustLine(xrpl_account(2000 + n), str(n), "USD") for n in range(450)]
    return [
        *strangers,
        TrustLine(ISSUER, "1234.5", "USD"),
        TrustLine(ISSUER, "7", "EUR"),
        *strangers,
        TrustLine(OTHER_ISSUER, "-0.000000000000000001", RLUSD_CODE, freeze_peer=True),
    ]


async def test_issued_currencies_are_found_over_many_pages_exactly() -> None:
    ledger = Ledger()
    holder = xrpl_account(0)
    ledger.close({(holder, None): 30_000_000})
    server = RippledServer(ledger, Faults(), lines=many_lines)
    async with server, reading_from(server) as reader:
        asked = [Request(holder, USD), Request(holder, XRP), Request(holder, RLUSD)]
        reading = await reader.read([*asked, Request(holder, USD)])
        assert reading[0] == Value(1_234_500_000)
        assert reading[1] == Value(30_000_000, reserved=1_000_000)
        assert reading[2] == Value(-1, mark="frozen"), "a negative line is owed"
        assert reading[3] == reading[0], "the same request twice has the same answer"


async def test_one_issuer_is_asked_for_by_peer_and_one_account_info_is_enough() -> None:
    ledger = Ledger()
    holder = xrpl_account(0)
    ledger.close({(holder, None): 30_000_000})
    server = RippledServer(ledger, Faults(), lines=many_lines)
    async with server, reading_from(server) as reader:
        asked = [Request(holder, XRP), Request(holder, USD), Request(holder, XRP)]
        reading = await reader.read(asked)
        assert [reading.amounts[0], reading.amounts[2]] == [30_000_000] * 2
        assert reading.amounts[1] == 1_234_500_000
        pages = 3  # of 200 lines each, until the wanted one was seen
        assert server.served == 1 + pages


async def test_what_a_trust_line_can_say_beside_an_amount() -> None:
    ledger = Ledger()
    holder, bare, gone = (xrpl_account(n) for n in range(3))
    ledger.close({(holder, None): 9_000_000, (bare, None): 9_000_000})

    def lines(account: str, number: int) -> list[TrustLine]:
        return [TrustLine(ISSUER, "0.1234567", "USD")] if account == holder else []

    server = RippledServer(ledger, Faults(), lines=lines)
    async with server, reading_from(server) as reader:
        asked = [Request(a, USD) for a in (holder, bare, gone, ISSUER)]
        reading = await reader.read(asked)
        unrepresentable = reading[0]
        assert isinstance(unrepresentable, Unknown)
        assert "finer than the asset's 6 decimals" in unrepresentable.reason
        assert reading[1] == Value(0, mark="no trust line")
        assert reading[2] == Value(0, mark="not activated")
        assert reading[3] == Unknown("an issuer holds nothing of its own currency")


async def test_trust_lines_can_be_taken_from_a_simulated_chain() -> None:
    ledger = Ledger()
    holder = xrpl_account(0)
    ledger.close({(holder, None): 9_000_000, (holder, ISSUER): 12_345_678})
    server = RippledServer(ledger, Faults(), lines=lines_from(ledger, [XRP, USD]))
    async with server, reading_from(server) as reader:
        assert (await reader.read([Request(holder, USD)])).amounts == [12_345_678]


async def test_a_reading_can_be_asked_for_at_an_earlier_ledger() -> None:
    ledger = Ledger()
    account = xrpl_account(0)
    earlier = ledger.close({(account, None): 3_000_000})
    ledger.close({(account, None): 8_000_000})
    async with RippledServer(ledger, Faults()) as server, reading_from(server) as reader:
        asked = natives(1)
        assert (await reader.read(asked)).amounts == [8_000_000]
        reading = await reader.read(asked, at=earlier)
        assert reading.amounts == [3_000_000]
        assert reading.block == earlier


async def test_a_text_that_is_no_address_harms_only_itself() -> None:
    ledger = Ledger()
    ledger.close({(xrpl_account(0), None): 3_000_000})
    async with RippledServer(ledger, Faults()) as server, reading_from(server) as reader:
        odd = Request('r","command":"stop', XRP)
        reading = await reader.read([*natives(1), odd])
        assert reading.amounts == [3_000_000, None]
        assert "is no XRPL address" in reading.reasons[1]


async def test_nothing_to_read_is_a_reading_of_nothing() -> None:
    ledger = Ledger()
    async with RippledServer(ledger, Faults()) as server, reading_from(server) as reader:
        reading = await reader.read([])
        assert list(reading.amounts) == []
        assert reading.block.hash == ledger.head().hash


async def test_heads_come_as_ledgers_close_and_end_with_the_reader() -> None:
    ledger = Ledger()
    async with RippledServer(ledger, Faults()) as server, reading_from(server) as reader:
        heads: list[BlockRef] = []

        async def listen() -> None:
            async for head in reader.heads():
                heads.append(head)

        async with asyncio.timeout(60):
            listening = asyncio.create_task(listen())
            while not heads or heads[-1].number < ledger.head().number or len(heads) < 3:
                await asyncio.sleep(0.06)
                if len(heads) < 3:
                    ledger.close()
            assert [h.hash for h in heads] == [
                block.hash for h in heads if (block := ledger.block(h.number)) is not None
            ]
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def test_after_close_no_task_is_left() -> None:
    ledger = Ledger()
    before = asyncio.all_tasks()
    async with RippledServer(ledger, Faults()) as server, reading_from(server) as reader:
        await reader.read(natives(3))
    assert asyncio.all_tasks() == before


# --- servers that count ------------------------------------------------------------------------


async def test_a_public_server_is_swept_at_its_pace_without_being_refused() -> None:
    ledger = Ledger()
    ledger.close({(xrpl_account(n), None): 2_000_000 + n for n in range(60)})
    server = RippledServer(ledger, Faults(), requests_per_second=20)
    async with server, reading_from(server, requests_per_second=18) as reader:
        reading = await reader.read(natives(60))
        assert reading.amounts == [2_000_000 + n for n in range(60)]
        assert reader.health()[0].errors == 0


async def read_until_whole(reader: XrplReader, asked: list[Request], tries: int) -> Reading:
    for _ in range(tries):
        reading = await reader.read(asked)
        if not reading.reasons:
            return reading
    raise AssertionError(f"never whole: {reading.reasons}")


async def test_the_pace_of_a_server_is_learnt_from_its_refusals() -> None:
    ledger = Ledger()
    ledger.close({(xrpl_account(n), None): 2_000_000 + n for n in range(80)})
    server = RippledServer(ledger, Faults(), requests_per_second=50)
    async with server, reading_from(server) as reader:
        asked = natives(80)
        reading = await read_until_whole(reader, asked, 3)
        assert reading.amounts == [2_000_000 + n for n in range(80)]
        refusals = reader.health()[0].errors
        assert refusals > 0
        assert (await reader.read(asked)).amounts == reading.amounts
        assert reader.health()[0].errors <= refusals + 1


async def test_a_sweep_longer_than_a_ledger_is_remembered_goes_on_in_the_next_reading() -> None:
    ledger = Ledger()
    ledger.close({(xrpl_account(n), None): 2_000_000 + n for n in range(60)})
    pace = {"requests_per_second": 50.0, "interval_s": 0.2, "longest_sweep_s": 0.5}
    async with RippledServer(ledger, Faults()) as server, reading_from(server, **pace) as reader:
        asked = natives(60)
        known: list[set[int]] = []
        for _ in range(3):
            reading = await reader.read(asked)
            values = {n: a for n, a in enumerate(reading.amounts) if a is not None}
            assert values == {n: 2_000_000 + n for n in values}
            assert len(values) + len(reading.reasons) == 60
            assert all("not its turn" in reason for reason in reading.reasons.values())
            known.append(set(values))
        assert known[0] != known[1]
        assert known[0] | known[1] | known[2] == set(range(60))
        assert reader.health()[0].errors == 0


async def test_with_the_transactions_stream_a_slow_server_is_asked_only_for_what_moved() -> None:
    ledger = Ledger()
    count = 200
    ledger.close({(xrpl_account(n), None): 2_000_000 + n for n in range(count)})
    server = RippledServer(ledger, Faults())
    async with server, reading_from(server, requests_per_second=300, interval_s=1.0) as reader:
        asked = natives(count)
        whole = await reader.read(asked)  # the stream begins with this one
        assert whole.amounts == [2_000_000 + n for n in range(count)]
        assert whole.requests_sent > count
        await next_ledger(ledger, {xrpl_account(150): 77_000_000})
        await next_ledger(ledger, {xrpl_account(151): 78_000_000})
        reading = await reader.read(asked)
        assert reading.block.hash == ledger.head().hash
        assert reading.requests_sent < 30
        expected = [2_000_000 + n for n in range(count)]
        expected[150:152] = [77_000_000, 78_000_000]
        assert reading.amounts == expected
        assert len(reading.reserved) == count


async def test_a_stream_that_keeps_a_change_back_is_found_out_by_the_rolling_reading() -> None:
    ledger = Ledger()
    count = 60
    ledger.close({(xrpl_account(n), None): 2_000_000 for n in range(count)})
    server = RippledServer(ledger, Faults())
    async with server, reading_from(server, requests_per_second=100, interval_s=1.0) as reader:
        asked = natives(count)
        await reader.read(asked)
        await next_ledger(ledger, {})
        await reader.read(asked)
        server.touch(ledger.head().number + 1, [])  # it will name none of the two
        ledger.close({(xrpl_account(47), None): 9, (xrpl_account(3), None): 8})
        await asyncio.sleep(0.2)
        for _ in range(12):
            reading = await reader.read(asked)
            if "missed a change" in reader.health()[0].note:
                break
        else:
            raise AssertionError("not found out in a whole round")
        reading = await reader.read(asked)
        assert (reading.amounts[47], reading.amounts[3]) == (9, 8)


async def test_a_ledger_missing_from_the_stream_means_everything_is_read_again() -> None:
    ledger = Ledger()
    count = 60
    ledger.close({(xrpl_account(n), None): 2_000_000 for n in range(count)})
    faults = Faults()
    server = RippledServer(ledger, faults)
    async with server, reading_from(server, requests_per_second=100, interval_s=1.0) as reader:
        asked = natives(count)
        await reader.read(asked)
        await next_ledger(ledger, {})
        await reader.read(asked)
        faults.begin(Fault.TIMEOUT)  # also silences the stream
        await next_ledger(ledger, {xrpl_account(50): 5})
        faults.end()
        await next_ledger(ledger, {})
        reading = await reader.read(asked)
        assert reading.amounts[50] == 5
        assert reading.requests_sent >= count


async def next_ledger(ledger: Ledger, moved: dict[str, int]) -> None:
    """Close a ledger and let its announcement arrive."""
    ledger.close({(account, None): drops for account, drops in moved.items()})
    await asyncio.sleep(0.2)
