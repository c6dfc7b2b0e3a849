"""Simulated power cuts: nothing acknowledged is lost, and without fsync something is."""

from __future__ import annotations

from tests.crash.power_cuts import cut_power


def test_no_power_cut_loses_an_acknowledged_commit_or_invents_one() -> None:
    tally = cut_power(3_000)
    assert (tally.lost, tally.refused) == (0, 0)
    assert tally.torn > 300  # the cuts did hit records being written


def test_with_fsync_taken_out_the_same_cuts_do_lose_commits() -> None:
    tally = cut_power(600, syncs=False)
    assert tally.lost > 50
