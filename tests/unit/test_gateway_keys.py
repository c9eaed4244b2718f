"""Where clients put their keys, and which of them are known."""

from __future__ import annotations

import pytest

from gateway.errors import WrongKey
from gateway.keys import Keys

KEYS = Keys(["first", "second"])


@pytest.mark.parametrize(
    ("headers", "subprotocols"),
    [
        ({"authorization": "Bearer second"}, []),
        ({"authorization": "bearer first"}, []),
        ({"authorization": "Token first"}, []),
        ({"api-key": "first"}, []),
        ({"x-api-key": "first"}, []),
        ({}, ["realtime", "openai-insecure-api-key.first"]),
        ({}, ["realtime", "realtime-token.first"]),
        ({}, ["token", "first"]),
        ({"authorization": "Bearer wrong"}, ["realtime", "openai-insecure-api-key.first"]),
    ],
)
def test_a_known_key_is_found_where_clients_put_it(headers: dict[str, str], subprotocols: list[str]) -> None:
    KEYS.check(headers, subprotocols)


@pytest.mark.parametrize(
    ("headers", "subprotocols"),
    [
        ({"authorization": "Bearer third"}, []),
        ({"authorization": "Bearer "}, []),
        ({"authorization": "first"}, []),
        ({"authorization": "Basic first"}, []),
        ({"authorization": "Bearer fir\u00e9"}, []),
        ({}, ["realtime", "first"]),
        ({}, ["token"]),
    ],
)
def test_another_key_is_refused(headers: dict[str, str], subprotocols: list[str]) -> None:
    with pytest.raises(WrongKey):
        KEYS.check(headers, subprotocols)


def test_a_missing_key_is_answered_with_where_to_put_it() -> None:
    with pytest.raises(WrongKey, match="Authorization: Bearer KEY"):
        KEYS.check({})


def test_without_keys_everybody_may() -> None:
    Keys([]).check({})
