"""The pane of a row: which of its lines are drawn anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tui import text
from tui.widgets.row_detail import Words, changed_lines, laid_out

CUT = text.UNICODE.cut
REASON = "base stale 2m: every endpoint of the chain answers too late"

words_of_a_pane = st.lists(
    st.tuples(st.text(alphabet="ab \n字", max_size=30), st.sampled_from(["", "bold"])), max_size=8
)


def said(line: Words) -> str:
    return "".join(words for words, _ in line)


def test_a_long_line_is_broken_between_words_and_keeps_its_styles() -> None:
    lines = laid_out([("agent-1\n", "bold"), (REASON, "$warning"), ("\nlast", "")], 24, CUT)
    assert [said(line).rstrip() for line in lines] == [
        "agent-1",
        "base stale 2m: every",
        "endpoint of the chain",
        "answers too late",
        "last",
    ]
    assert {style for _, style in lines[2]} == {"$warning"}


def test_a_wrapped_line_makes_no_other_line_differ() -> None:
    before = laid_out([("12.50\n", "bold"), (REASON, ""), ("\nETH", "")], 24, CUT)
    after = laid_out([("13.50\n", "bold"), (REASON, ""), ("\nETH", "")], 24, CUT)
    assert changed_lines(before, after) == [0]
    assert changed_lines(after, after[:-1]) == [4]


@given(words_of_a_pane, st.integers(4, 40))
def test_no_line_is_wider_than_the_pane(words: Words, width: int) -> None:
    lines = laid_out(words, width, CUT)
    assert all(text.cells(said(line)) <= width for line in lines)
    assert len(lines) >= said(words).count("\n") + 1
