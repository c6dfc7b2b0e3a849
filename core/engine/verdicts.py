"""What a check of `bursar doctor` says: a sentence with a verdict and, when bad, the next step."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How a check ended."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


class Check(msgspec.Struct, frozen=True):
    """One thing looked at: what was found, and what to do if it is bad."""

    name: str
    verdict: Verdict
    finding: str
    advice: str = ""
