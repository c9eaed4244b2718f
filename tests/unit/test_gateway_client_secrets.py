"""Client secrets: what they open, and until when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client_secrets import ClientSecrets, SecretTooLong

SESSION = {"type": "transcription", "audio": {"input": {"transcription": {"prompt": "김철수"}}}}
KEYS = ["first", "second"]


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.9

    def __call__(self) -> float:
        return self.now_s


SECRETS = ClientSecrets(KEYS, Clock())


def test_a_secret_opens_what_was_asked_for_until_its_time_is_over() -> None:
    clock = Clock()
    secrets = ClientSecrets(KEYS, clock)
    secret, until_s = secrets.make(SESSION, 60)
    assert until_s == 1060
    assert secrets.session(secret) == SESSION
    clock.now_s = 1060.0
    assert secrets.session(secret) is None


def test_another_gateway_with_the_same_keys_knows_it_and_one_with_others_does_not() -> None:
    secret, _ = SECRETS.make(SESSION, 60)
    assert ClientSecrets(KEYS, Clock()).session(secret) == SESSION
    assert ClientSecrets(["first"], Clock()).session(secret) is None


def test_a_secret_may_stand_in_a_subprotocol() -> None:
    secret, _ = SECRETS.make(SESSION, 60)
    assert all(character.isalnum() or character in "-._" for character in secret)


@given(st.data())
def test_a_secret_that_was_changed_opens_nothing(data: st.DataObject) -> None:
    secret, _ = SECRETS.make(SESSION, 60)
    position = data.draw(st.integers(0, len(secret) - 2))  # the last character has bits that mean nothing
    other = data.draw(st.sampled_from("ABCabc019-_.").filter(lambda character: character != secret[position]))
    assert SECRETS.session(secret[:position] + other + secret[position + 1 :]) is None


@given(st.text())
def test_whatever_is_no_secret_opens_nothing(text: str) -> None:
    assert SECRETS.session(text) is None
    assert SECRETS.session(f"ek_{text}") is None


def test_a_session_that_no_header_can_hold_has_no_secret() -> None:
    with pytest.raises(SecretTooLong, match="too long"):
        SECRETS.make({"prompt": "가" * 2000}, 60)
