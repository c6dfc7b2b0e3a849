"""The codec: every record comes back as it was, exactly, and nothing else is taken for one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.backup.errors import RecordError
from core.backup.records import (
    KINDS,
    AnyRecord,
    Balance,
    Gone,
    Position,
    Setting,
    Whole,
    decode,
    digest,
    encode,
    placed,
    position,
    sort_records,
    whole,
)
from core.backup.runs import runs
from tests.backup.installation import installation

wholes = st.builds(Whole, st.integers(-(2**332) + 1, 2**332 - 1))
st.register_type_strategy(Whole, wholes)
records = st.one_of(*(st.builds(kind) for kind in KINDS))


@given(records)
def test_every_record_comes_back_as_it_was(record: AnyRecord) -> None:
    text = encode(record)
    assert b"\n" not in text
    assert decode(text, "x", 1) == record
    assert encode(decode(text, "x", 1)) == text


@given(records)
def test_no_line_holds_a_json_number(record: AnyRecord) -> None:
    def refuse(number: str) -> None:
        raise AssertionError(number)

    json.loads(encode(record), parse_int=refuse, parse_float=refuse)


@given(st.lists(records, max_size=12))
def test_the_order_of_records_is_total_and_that_of_their_lines(found: list[AnyRecord]) -> None:
    places = [position(record) for record in sort_records(found)]
    assert places == sorted(places)
    for record in found:
        of = str(type(record).__struct_config__.tag)
        assert position(decode(encode(Gone(of, record.key())), "x", 1)) == position(record)


@given(records, wholes, wholes)
def test_observation_times_do_not_make_a_change_and_anything_else_does(
    record: AnyRecord, block: Whole, checked: Whole
) -> None:
    if isinstance(record, Balance):
        fields = {name: getattr(record, name) for name in record.__struct_fields__}
        seen_later = Balance(**{**fields, "block": block, "checked_ms": checked})
        assert digest(seen_later) == digest(record)
        other = Balance(**{**fields, "amount": Whole((record.amount or 0) + 1)})
        assert digest(other) != digest(record)
    else:
        assert digest(record) == digest(decode_record(encode(record)))


def test_observation_times_are_the_last_fields_of_their_record() -> None:
    for kind in KINDS:
        fields = kind.__struct_fields__
        assert fields[len(fields) - len(kind.OBSERVED) :] == kind.OBSERVED


def decode_record(text: bytes) -> AnyRecord:
    found = decode(text, "x", 1)
    assert not isinstance(found, Gone)
    return found


@pytest.mark.parametrize(
    "text",
    [
        b'{"kind":"limit","scope":"a","name":"b","chain":"c","symbol":"d","floor":5}',
        b'{"kind":"limit","scope":"a","name":"b","chain":"c","symbol":"d","floor":"05"}',
        b'{"kind":"limit","scope":"a","name":"b","chain":"c","symbol":"d","floor":"-0"}',
        b'{"kind":"limit","scope":"a","name":"b","chain":"c","symbol":"d","floor":"1_0"}',
        b'{"kind":"limit","scope":"a","name":"b","chain":"c","symbol":"d","floor":"5.0"}',
        b'{"kind":"limit","scope":"a","name":"b","chain":"c","symbol":"d","floor":"1e3"}',
        '{"kind":"limit","scope":"a","name":"b","chain":"c","symbol":"d","floor":"٣"}'.encode(),
        b'{"kind":"setting","name":"a","value":"b","more":"c"}',
        b'{"kind":"unheard of"}',
        b'{"kind":"gone","of":"unheard of","key":[]}',
        b'{"kind":"setting","name":"a"}',
        b"[]",
        b"",
        b"\xff",
    ],
)
def test_what_is_no_record_is_refused_with_file_and_line(text: bytes) -> None:
    with pytest.raises(RecordError, match="x, line 7"):
        decode(text, "x", 7)


def test_an_integer_beyond_any_chain_is_refused_before_it_is_written() -> None:
    most = 2**332 - 1
    written = encode(Balance(agent="a", chain="c", symbol="s", amount=whole(most)))
    found = decode(written, "x", 1)
    assert isinstance(found, Balance)
    assert found.amount == most
    for huge in (most + 1, -most - 1):
        with pytest.raises(RecordError, match="332 bits"):
            whole(huge)


def test_records_out_of_order_or_twice_are_refused() -> None:
    found = installation()
    assert [line for _, line in placed(found, "x")] == found
    for wrong in ([*found, found[-1]], [found[0], *found], found[::-1], found[1:] + found[:1]):
        with pytest.raises(RecordError, match="does not stand after"):
            list(placed(wrong, "x"))
        with pytest.raises(RecordError, match="does not stand after"):
            list(runs(wrong, "x"))


@given(st.lists(records, max_size=12, unique_by=position))
def test_a_run_says_of_its_records_what_each_says_of_itself(found: list[AnyRecord]) -> None:
    ordered = sort_records(found)
    passed = list(runs(ordered, "x"))
    assert [record for run in passed for record in run.records] == ordered
    assert b"".join(run.text for run in passed) == b"".join(encode(r) + b"\n" for r in ordered)
    places = [Position(run.kind.RANK, key) for run in passed for key in run.keys]
    assert places == [position(record) for record in ordered]
    assert [d for run in passed for d in run.digests] == [digest(record) for record in ordered]


def test_names_are_ordered_by_code_point_as_databases_order_them() -> None:
    names = ["a", "B", "é", "z", "\U0001f600", "\uffff", ""]
    ours = sort_records([Setting(name=name, value="") for name in names])
    by_bytes = sorted(names, key=lambda name: name.encode())
    assert [position(record) for record in ours] == [Position(0, (name,)) for name in by_bytes]
