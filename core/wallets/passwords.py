"""What a new password must be, and one that is offered.

Length alone proves little (`Password12345678!` is long and weak), so zxcvbn must give it full
marks too. The rules hold where a password is set, never where one is tried.
"""

from __future__ import annotations

import secrets as random
from typing import Final

from core.model import BursarError, Secret
from core.wallets.secrets import normalised

SHORTEST: Final = 16
_FULL_MARKS: Final = 4
_SCORED: Final = 72  # zxcvbn raises above; more letters only make a password better
_SUGGESTED_WORDS: Final = 7  # 7 of 2,048 words: 77 bits


class WeakPasswordError(BursarError):
    """A password is not taken; the message says why, without it."""


def check_password(typed: Secret) -> None:
    """Blocks for some ten milliseconds. Raises WeakPasswordError."""
    password = normalised(typed)
    length = len(password.reveal())
    if length < SHORTEST:
        raise WeakPasswordError(
            f"The password has {length} characters; at least {SHORTEST} are needed. "
            "A phrase of several random words is easiest to keep."
        )
    if not password.reveal().isprintable():
        raise WeakPasswordError(
            "The password holds a character that cannot be typed everywhere, such as a tab or a "
            "line end."
        )
    score, why = _scored(password)
    if score < _FULL_MARKS:
        raise WeakPasswordError(
            f"The password is guessable (zxcvbn score {score} of {_FULL_MARKS}"
            f"{f': {why}' if why else ''}). Use random words, such as the phrase offered."
        )


def suggest_password() -> Secret:
    """A random phrase that fulfils the rules."""
    from mnemonic import Mnemonic

    words = Mnemonic("english").wordlist
    return Secret("-".join(random.choice(words) for _ in range(_SUGGESTED_WORDS)))


def _scored(password: Secret) -> tuple[int, str]:
    # Its word lists take 40 ms to load.
    from zxcvbn import zxcvbn  # type: ignore[import-untyped]  # it ships no types

    verdict = zxcvbn(password.reveal()[:_SCORED], user_inputs=["bursar", "treasury"])
    return int(verdict["score"]), str(verdict["feedback"]["warning"]).rstrip(".").lower()
