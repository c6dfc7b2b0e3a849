"""Which passwords are taken, and the one that is offered."""

from __future__ import annotations

import pytest

from core.model import Secret
from core.wallets.passwords import WeakPasswordError, check_password, suggest_password


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "0 characters"),
        ("x7#kQ!2mZ9$wB4&", "15 characters"),
        ("aaaaaaaaaaaaaaaa", "score 0"),
        ("Password12345678!", "score 3"),
        ("gravel-omen-tulip-\tseventh", "typed everywhere"),
        ("gravel-omen-tulip-seventh\n", "typed everywhere"),
    ],
)
def test_a_password_that_is_short_guessable_or_hard_to_type_is_refused(
    password: str, why: str
) -> None:
    with pytest.raises(WeakPasswordError, match=why) as caught:
        check_password(Secret(password))
    assert not password or password not in str(caught.value)


@pytest.mark.parametrize(
    "password",
    ["gravel-omen-canary-tulip", "x7#kQ!2mZ9$wB4&v", "correct horse battery staple " * 20],
)
def test_long_unguessable_passwords_are_taken_at_any_length(password: str) -> None:
    check_password(Secret(password))


def test_length_is_counted_after_composition() -> None:
    with pytest.raises(WeakPasswordError, match="15 characters"):
        check_password(Secret("x7#kQ!2mZ9$wB4u\u0308"))


def test_every_phrase_offered_fulfils_the_rules_and_none_comes_twice() -> None:
    offered = [suggest_password().reveal() for _ in range(20)]
    assert len(set(offered)) == 20
    for phrase in offered:
        assert len(phrase.split("-")) == 7
        check_password(Secret(phrase))
