"""The desk's pure parts: parts of a line, notices, events in words, exports."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.theme import Theme

from core.api import AlertView, ChainState
from core.events import EventRecord, Json
from core.model import ChainKind, Severity
from tests.desk import scripted_ledger
from tests.desk.scripted import NOW_MS, ManualClock, ScriptedEngine, stored_events
from tui import event_words, export, kept, text, themes
from tui.fleet import FleetModel
from tui.notices import MOST, Notices
from tui.widgets.list_table import Tone
from tui.widgets.status_bar import chain_parts, is_production, laid_out, part


def said(line: tuple[tuple[str, str], ...]) -> str:
    return "".join(words for words, _ in line)


# --- the status bar -------------------------------------------------------------------------


def test_parts_are_left_out_by_rank_until_the_line_fits() -> None:
    left = [part("bursar"), part("store", rank=1), part("chains", rank=2)]
    right = [part("12:04")]
    assert said(laid_out(left, right, 40)).startswith("bursar │ store │ chains")
    assert "chains" not in said(laid_out(left, right, 22))
    assert "store" in said(laid_out(left, right, 22))
    assert said(laid_out(left, right, 14)) == "bursar   12:04"


@given(
    st.lists(st.tuples(st.text("abc代", max_size=9), st.integers(0, 5)), max_size=6),
    st.integers(10, 60),
)
def test_a_line_is_always_exactly_as_wide_as_the_terminal(
    parts: list[tuple[str, int]], width: int
) -> None:
    line = laid_out([part(w, rank=r) for w, r in parts], [part("12:04")], width)
    assert text.cells(said(line)) <= width
    assert said(line).endswith("12:04")


def chain(name: str, state: str) -> ChainState:
    return ChainState(name, ChainKind.EVM, state, swept_ms=NOW_MS - 150_000)


def test_many_live_chains_become_a_number_and_those_in_trouble_stay_by_name() -> None:
    chains = [chain(f"chain-{i:02}", "live") for i in range(12)] + [chain("tron", "down")]
    words = [said(p.words) for p in chain_parts(chains, NOW_MS, text.UNICODE, known=True)]
    assert words == ["12 live●", "tron○ down 2m"]


def test_a_chain_is_not_called_live_while_the_engine_is_lost() -> None:
    (found,) = chain_parts([chain("base", "live")], NOW_MS, text.UNICODE, known=False)
    assert all(style != "$success" for _, style in found.words)


@pytest.mark.parametrize("name", ["production", "PROD", " Production "])
def test_production_is_known_by_its_usual_names(name: str) -> None:
    assert is_production(name)
    assert not is_production("pre-production")


# --- notices --------------------------------------------------------------------------------


def record(kind: str, subject: str, **payload: str) -> EventRecord:
    return EventRecord(1, kind, "n", NOW_MS, subject, dict(payload))


def test_toasts_come_a_few_at_a_time() -> None:
    notices = Notices()
    burst = [
        record("CHAIN_STATE_CHANGED", f"c{i}", chain=f"c{i}", newState="down") for i in range(9)
    ]
    assert len(notices.of_events(burst, NOW_MS)) == MOST


def test_an_endpoint_is_said_once_until_it_is_ready_again() -> None:
    notices = Notices()
    states = ("backing off", "backing off", "ready", "refused")
    found = [
        notices.of_events(
            [record("ENDPOINT_STATE_CHANGED", "base", endpoint="e", newState=state)],
            NOW_MS + i * 20_000,
        )
        for i, state in enumerate(states)
    ]
    assert [len(notes) for notes in found] == [1, 0, 0, 1]


def opened(number: int, kind: str, about: str = "base", **more: object) -> AlertView:
    view = AlertView(number, kind, kind, about, Severity.WARNING, f"{about} is wrong", NOW_MS)
    return msgspec.structs.replace(view, **more)


def test_an_alert_is_a_toast_with_its_severity_in_words() -> None:
    low = opened(1, "balance-below", "agent-1", message="3 USDC, floor 50")
    stuck = opened(2, "settlement-stuck", "acme/USD", severity=Severity.PROBLEM)
    found = Notices().of_alerts((stuck, low), NOW_MS)
    assert found == [
        ("problem: settlement-stuck", "acme/USD: acme/USD is wrong", "error"),
        ("warning: balance-below", "agent-1: 3 USDC, floor 50", "warning"),
    ]


def test_many_alerts_at_once_are_one_toast_and_alerts_come_a_few_at_a_time() -> None:
    notices = Notices()
    many = [opened(n, "runway", severity=Severity.PROBLEM) for n in range(2)]
    many += [opened(n, "runway") for n in range(2, 9)]
    assert notices.of_alerts(many, NOW_MS) == [
        ("9 alerts", "2 problems and 7 warnings: see Events", "error")
    ]
    told = [notices.of_alerts([opened(n, "runway")], NOW_MS + 100) for n in range(10, 16)]
    assert [len(each) for each in told] == [1, 1, 0, 0, 0, 0]
    assert len(notices.of_alerts([opened(20, "runway")], NOW_MS + 20_000)) == 1


def test_a_burst_of_events_takes_no_place_from_an_alert() -> None:
    notices = Notices()
    burst = [
        record("CHAIN_STATE_CHANGED", f"c{i}", chain=f"c{i}", newState="down") for i in range(9)
    ]
    notices.of_events(burst, NOW_MS)
    assert len(notices.of_alerts([opened(1, "settlement-stuck")], NOW_MS)) == 1


@pytest.mark.parametrize("event_first", [True, False])
@pytest.mark.parametrize(
    ("alert", "event"),
    [
        (opened(1, "chain-stale"), ("CHAIN_STATE_CHANGED", {"chain": "base", "newState": "stale"})),
        (opened(1, "chain-down"), ("CHAIN_STATE_CHANGED", {"chain": "base", "newState": "down"})),
        (
            opened(1, "endpoint-down", message="https://e is refused: wrong chain"),
            ("ENDPOINT_STATE_CHANGED", {"endpoint": "https://e", "newState": "refused"}),
        ),
    ],
)
def test_one_fact_is_one_toast_by_event_or_alert(
    alert: AlertView, event: tuple[str, dict[str, str]], event_first: bool
) -> None:
    notices, happened = Notices(), record(event[0], "base", **event[1])
    told = notices.of_events([happened], NOW_MS) if event_first else []
    told += notices.of_alerts([alert], NOW_MS)
    told += notices.of_events([happened], NOW_MS)
    assert len(told) == 1


def test_a_stale_chain_that_goes_down_is_told_by_the_alert() -> None:
    notices = Notices()
    stale = record("CHAIN_STATE_CHANGED", "base", chain="base", newState="stale")
    assert len(notices.of_events([stale], NOW_MS)) == 1
    down = opened(1, "chain-down", severity=Severity.PROBLEM)
    assert [notice.severity for notice in notices.of_alerts([down], NOW_MS)] == ["error"]
    live = record("CHAIN_STATE_CHANGED", "base", chain="base", newState="live")
    assert [notice.words for notice in notices.of_events([live], NOW_MS)] == ["live again"]
    assert len(notices.of_alerts([opened(2, "chain-down")], NOW_MS)) == 1  # a new outage


def test_a_trial_balance_is_told_once_by_the_ledger_or_by_the_alert() -> None:
    notices = Notices()
    assert len(notices.of_ledger(scripted_ledger.ledger(), scripted_ledger.unbalanced())) == 1
    assert notices.of_alerts([opened(1, "trial-balance", "USD")], NOW_MS) == []


def test_balance_changes_are_never_toasts() -> None:
    assert Notices().of_events(stored_events()[1:6], NOW_MS) == []


# --- events in words ------------------------------------------------------------------------


def test_every_stored_event_has_words_without_markup_or_escapes_taken_seriously() -> None:
    for stored in stored_events():
        words = event_words.describe(stored)
        assert words.title
        for shown in (words.title, words.subject, words.said, event_words.as_json(stored)):
            assert "\x1b" not in shown
            assert "\u202e" not in shown


@given(st.integers(-(2**256), 2**256), st.integers(0, 30))
def test_a_figure_in_words_is_exact(amount: int, decimals: int) -> None:
    assert text.parse_amount(event_words.figure(amount, decimals, sign=True), decimals) == amount


def test_an_emptied_balance_is_a_problem_in_words_and_tone() -> None:
    words = event_words.describe(stored_events()[4])
    assert words.said == "-9.30 USDC on base, now 0.00"
    assert words.tone is Tone.PROBLEM


@given(
    st.sampled_from(["AGENT_BALANCE_CHANGED", "CHAIN_STATE_CHANGED", "AGENT_TAGGED", "NEW_KIND"]),
    st.dictionaries(
        st.sampled_from(["change", "newBalance", "decimals", "token", "chain", "tags", "oldState"]),
        st.one_of(st.none(), st.text(max_size=8), st.integers(-5, 5), st.lists(st.text())),
    ),
)
def test_no_payload_whatever_breaks_the_list(kind: str, payload: dict[str, object]) -> None:
    built = EventRecord(1, kind, "n", NOW_MS, "s", payload)  # type: ignore[arg-type]  # any JSON
    assert event_words.describe(built).title


# --- export and what is kept ----------------------------------------------------------------


async def fleet() -> FleetModel:
    clock = ManualClock()
    model = FleetModel(clock)
    model.load(await ScriptedEngine(clock).state())
    return model


async def test_an_export_has_the_fields_of_the_command_line_and_exact_figures() -> None:
    from core.service.wire import balance_rows

    model = await fleet()
    state = await ScriptedEngine(ManualClock()).state()
    public = {(r["agentId"], r["chain"], r["token"]): r for r in balance_rows(state)}
    for row in model.rows.values():
        ours = export.row_json(row)
        theirs = public[ours["agentId"], ours["chain"], ours["token"]]
        assert {key: ours[key] for key in theirs} == theirs


async def test_a_cell_that_a_spreadsheet_would_run_is_quoted() -> None:
    model = await fleet()
    row = next(iter(model.rows.values()))
    row.agent_view = type(row.agent_view)(row.agent, group="=cmd|' /C calc'!A0")
    (cells,) = csv.DictReader(io.StringIO(export.render([row], ".csv")))
    assert cells["group"].startswith("'=")


async def test_an_empty_export_is_an_empty_list() -> None:
    assert json.loads(export.render([], ".json")) == []


def test_a_broken_file_of_kept_columns_is_ignored(tmp_path: Path) -> None:
    (tmp_path / kept.FILE).write_text("{not json")
    assert kept.load(tmp_path) == kept.Kept()
    kept.save(tmp_path, kept.Kept(("agent", "balance")))
    assert kept.load(tmp_path).columns == ("agent", "balance")


def test_a_file_that_cannot_be_written_is_an_error_with_its_name(tmp_path: Path) -> None:
    for wrong in ("", "x.txt", str(tmp_path / "no" / "x.csv")):
        with pytest.raises(export.ExportError):
            export.check_path(wrong)
    with pytest.raises(export.ExportError, match=r"gone\.csv"):
        export.write(tmp_path / "no" / "gone.csv", "")


# --- themes ---------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    found = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in found]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [t for t in themes.THEMES if not t.ansi], ids=lambda t: t.name)
def test_words_are_readable_on_their_ground(theme: Theme) -> None:
    ground = luminance(theme.background or "")
    dim = theme.variables["desk-dim"]
    for colour, least in (
        (theme.foreground, 7.0),
        (theme.success, 4.5),
        (theme.warning, 4.5),
        (theme.error, 4.5),
        (dim, 4.4),
    ):
        high, low = sorted((luminance(colour or ""), ground), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= least, (theme.name, colour)


@pytest.mark.parametrize(
    ("kind", "payload", "title", "said"),
    [
        (
            "SETTLEMENT_REQUIRED",
            {"tokenId": "USD", "currentBalance": "120", "threshold": "100", "exceedsBy": "20"},
            "to settle",
            "120 USD due, 20 above 100",
        ),
        (
            "SETTLEMENT_STATE_CHANGED",
            {"tokenId": "USD", "oldState": "IDLE", "newState": "SETTLEMENT_PENDING", "reason": "x"},
            "settlement",
            "USD: IDLE -> SETTLEMENT_PENDING: x",
        ),
        ("SETTLEMENT_COMPLETED", {"tokenId": "USD", "amount": "1200"}, "settled", "1,200 USD"),
        (
            "SETTLEMENT_FAILED",
            {"tokenId": "USD", "amount": "7", "reason": "bank closed"},
            "not paid",
            "7 USD not paid: bank closed",
        ),
        ("ALERT_OPENED", {"rule": "low", "message": "5 left"}, "alert", "low: 5 left"),
        ("ALERT_CLOSED", {"rule": "low", "reason": "refilled"}, "alert over", "low: refilled"),
        (
            "ALERT_SILENCED",
            {"rule": "low", "operator": "ann", "reason": "night"},
            "silenced",
            "low: ann: night",
        ),
    ],
)
def test_settlements_and_alerts_are_said_in_a_sentence(
    kind: str, payload: dict[str, Json], title: str, said: str
) -> None:
    words = event_words.describe(EventRecord(1, kind, "n", 0, "about", payload))
    assert words.title == title
    assert words.said.startswith(said)


@pytest.mark.parametrize(
    ("kind", "payload", "sentence", "tone"),
    [
        (
            "BACKUP_CREATED",
            {
                "backupType": "full",
                "size": 2_104_331,
                "wallets": 48,
                "destinations": ["local"],
                "missing": ["s3"],
            },
            "full backup, 48 wallets in 2.10MB, at local; still to get it: s3",
            Tone.WARNING,
        ),
        (
            "BACKUP_FAILED",
            {"operation": "create", "reason": "disk full"},
            "backup not made: disk full",
            Tone.PROBLEM,
        ),
        (
            "RESTORE_COMPLETED",
            {"wallets": 48, "undo": False},
            "48 wallets restored; the state before is kept",
            Tone.OK,
        ),
        (
            "RESTORE_FAILED",
            {"stage": "plan", "reason": "The password is wrong."},
            "dry run: The password is wrong; nothing was changed",
            Tone.PROBLEM,
        ),
        (
            "WALLET_BALANCE_MISMATCH",
            {"token": "USDC", "chain": "base", "expectedBalance": "12400000", "actualBalance": "0"},
            "USDC on base: the backup says 12,400,000, the chain 0",
            Tone.WARNING,
        ),
    ],
)
def test_backups_and_restores_are_told_in_sentences(
    kind: str, payload: dict[str, Json], sentence: str, tone: Tone
) -> None:
    words = event_words.describe(EventRecord(1, kind, "n", 0, "about", payload))
    assert (words.said, words.tone) == (sentence, tone)
