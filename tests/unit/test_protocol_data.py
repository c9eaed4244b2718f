"""What the packets with structure say: there and back again, and nothing but an error of the protocol otherwise."""

from __future__ import annotations

import json
from typing import Any, Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocol.data import (
    Cause,
    DataError,
    Detail,
    DetailedResult,
    Partial,
    SessionOptions,
    SpeechStarted,
    SpeechStopped,
    UtteranceDone,
    UtteranceEvent,
    Word,
    encode_event,
    encode_options,
    encode_partial,
    encode_result,
    parse_detailed_result,
    parse_event,
    parse_options,
    parse_partial,
)
from protocol.packets import (
    MAGIC,
    MAX_DATA_BYTES,
    Header,
    ProtocolError,
    encode_packet,
)
from util import (
    ClientProtocol,
    OptionsReceived,
    Result,
    ServerProtocol,
    detailed_result_packet,
)

# --- there and back again

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SECONDS = st.integers(0, 10**7).map(lambda hundredths: hundredths / 100)
TENTHS = st.integers(0, 10**6).map(lambda tenths: tenths / 10)
CHANCES = st.integers(0, 100).map(lambda percent: percent / 100)
CAUSES = st.sampled_from(Cause)
WORDS = st.builds(Word, TEXTS, SECONDS, SECONDS, CHANCES)
DETAILS = st.builds(
    Detail,
    TEXTS,
    CAUSES,
    st.integers(-5000, 0).map(lambda thousandths: thousandths / 1000),
    CHANCES,
    CHANCES,
    st.lists(WORDS, max_size=4).map(tuple),
)
OPTIONS = st.builds(
    SessionOptions,
    language=st.none() | TEXTS,
    prompt=st.none() | TEXTS,
    sample_rate=st.none() | st.integers(8000, 48_000),
    encoding=st.none() | st.sampled_from(["pcm_s16le", "mulaw", "alaw"]),
    silence_ms=st.none() | st.integers(100, 5000),
    partial=st.none() | st.booleans(),
    detail=st.none() | st.booleans(),
)


@given(OPTIONS)
def test_options_say_what_is_asked_for_and_nothing_else(options: SessionOptions) -> None:
    fields = parse_options(encode_options(options))
    assert SessionOptions(**fields) == options
    assert None not in fields.values()


@given(st.builds(Partial, TENTHS, TENTHS, TEXTS, TEXTS), st.booleans())
def test_live_text_comes_back_as_it_was_but_for_tabs(partial: Partial, detailed: bool) -> None:
    expected = partial._replace(stable=partial.stable.replace("\t", " "), unstable=partial.unstable.replace("\t", " "))
    assert parse_partial(encode_partial(partial, detailed)) == expected


EVENTS: list[st.SearchStrategy[UtteranceEvent]] = [
    st.builds(SpeechStarted, SECONDS),
    st.builds(SpeechStopped, SECONDS, CAUSES),
    st.builds(UtteranceDone, SECONDS, SECONDS, CAUSES, st.booleans()),
]


@given(st.one_of(EVENTS))
def test_an_event_comes_back_as_it_was(event: UtteranceEvent) -> None:
    assert parse_event(encode_event(event)) == event


@given(st.builds(DetailedResult, SECONDS, SECONDS, TEXTS, DETAILS))
def test_a_result_with_detail_comes_back_as_it_was(result: DetailedResult) -> None:
    assert parse_detailed_result(encode_result(result)) == result
    protocol = streaming_client()
    protocol.receive(detailed_result_packet(result))
    assert protocol.events() == [Result(result.start_s, result.end_s, result.text, result.detail)]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (encode_options(SessionOptions()), "{}"),
        (encode_options(SessionOptions(language="ko", partial=False)), '{"language":"ko","partial":false}'),
        (encode_partial(Partial(1.2, 3.4, "안녕하세요 저는", "김"), detailed=False), "1.2 3.4 : 안녕하세요 저는\t김"),
        (
            encode_partial(Partial(1.2, 3.4, "안녕하세요 저는", "김"), detailed=True),
            '{"start":1.2,"end":3.4,"stable":"안녕하세요 저는","unstable":"김"}',
        ),
        (encode_event(SpeechStarted(1.2)), '{"event":"speech_started","at":1.2}'),
        (encode_event(SpeechStopped(3.4, Cause.LENGTH)), '{"event":"speech_stopped","at":3.4,"cause":"length"}'),
        (
            encode_event(UtteranceDone(1.2, 3.4, Cause.ASKED, has_text=False)),
            '{"event":"utterance_done","start":1.2,"end":3.4,"cause":"asked","text":false}',
        ),
        (
            encode_result(
                DetailedResult(
                    *(1.2, 3.4, "안녕하세요"),
                    Detail("ko", Cause.SILENCE, -0.31, 0.02, 0.87, (Word("안녕하세요", 1.2, 1.9, 0.91),)),
                )
            ),
            '{"start":1.2,"end":3.4,"text":"안녕하세요","language":"ko","cause":"silence","avg_logprob":-0.31,'
            '"no_speech_prob":0.02,"confidence":0.87,'
            '"words":[{"word":"안녕하세요","start":1.2,"end":1.9,"confidence":0.91}]}',
        ),
    ],
)
def test_what_is_said_is_to_the_byte_as_specified(data: bytes, said: str) -> None:
    assert data.decode() == said


def test_a_text_that_is_no_character_is_replaced_where_it_is_sent() -> None:
    """A tokeniser can give half a surrogate pair; JSON and UTF-8 have no place for it."""
    assert parse_partial(encode_partial(Partial(0, 1, "a\ud800", ""), detailed=True)).stable == "a?"
    assert parse_partial(encode_partial(Partial(0, 1, "a\ud800", ""), detailed=False)).stable == "a?"


# --- what is wrong

PARSERS: dict[str, Callable[[bytes], object]] = {
    "%o": parse_options,
    "%P": parse_partial,
    "%V": parse_event,
    "%R": parse_detailed_result,
}
NO_OBJECTS = {
    b"": "not JSON in UTF-8",
    b"{": "not JSON in UTF-8",
    b"{}{}": "not JSON in UTF-8",
    b"\xef\xbb\xbf{}": "not JSON in UTF-8",
    b'{"a":"\xff"}': "not JSON in UTF-8",
    b"\xff\xfe{\x00}\x00": "not JSON in UTF-8",
    b"[]": "not a JSON object",
    b"null": "not a JSON object",
    b'{"a":NaN}': "NaN is no number",
    b'{"a":-Infinity}': "-Infinity is no number",
    b'{"a":1e999}': "a number is too large",
    b'{"a":{"b":[-1e999]}}': "a number is too large",
    b'{"a":1,"a":1}': "a key comes twice",
    b'{"a":[{"b":1,"b":2}]}': "a key comes twice",
    b'{"a":' * 10_000: "nested too deep",
    b'{"a":' + b"[" * 60_000: "nested too deep",
}


@pytest.mark.parametrize("parse", [parse_options, parse_event, parse_detailed_result])
@pytest.mark.parametrize(("data", "why"), NO_OBJECTS.items(), ids=lambda value: repr(value)[:24])
def test_what_is_no_object_is_told_in_one_line(parse: Callable[[bytes], object], data: bytes, why: str) -> None:
    with pytest.raises(DataError, match=why) as caught:
        parse(data)
    assert str(caught.value).isprintable()


def test_a_whole_character_that_is_escaped_as_two_halves_is_one() -> None:
    assert parse_options(b'{"prompt":"\\ud83d\\ude00"}') == {"prompt": "😀"}


GOOD: dict[str, dict[str, Any]] = {
    "%P": {"start": 1.2, "end": 3, "stable": "a", "unstable": ""},
    "%V": {"event": "utterance_done", "start": 1.2, "end": 3.4, "cause": "silence", "text": True},
    "%R": {
        "start": 1.2,
        "end": 3.4,
        "text": "a",
        "language": "ko",
        "cause": "silence",
        "avg_logprob": -0.31,
        "no_speech_prob": 0,
        "confidence": 1,
        "words": [{"word": "a", "start": 1, "end": 2, "confidence": 0.5}],
    },
}
FIELDS = [(header, key) for header, fields in GOOD.items() for key in fields]
# Of no key is any of these a value: numbers and truths are kept apart, too.
WRONG = [None, [], {}, [1], {"a": 1}, 10**400]


def parse(header: str, fields: Any) -> object:
    return PARSERS[header](json.dumps(fields).encode())


@pytest.mark.parametrize(("header", "key"), FIELDS)
def test_a_key_that_is_missing_or_of_another_type_is_named(header: str, key: str) -> None:
    parse(header, GOOD[header])
    wrong = [value for value in WRONG if not (key == "words" and value == [])]
    cases = [{name: value for name, value in GOOD[header].items() if name != key}]
    cases += [{**GOOD[header], key: value} for value in wrong]
    cases.append({**GOOD[header], key: "1" if isinstance(GOOD[header][key], (float, bool)) else True})
    for fields in cases:
        with pytest.raises(DataError, match=f"'{key}'"):
            parse(header, fields)


@pytest.mark.parametrize(("header", "key"), [("%P", "stable"), ("%V", "event"), ("%R", "text"), ("%R", "language")])
def test_half_a_character_in_a_text_is_an_error(header: str, key: str) -> None:
    """Of options the server says it, which knows what may stand where."""
    with pytest.raises(DataError, match=f"'{key}' has half a surrogate pair"):
        parse(header, {**GOOD[header], key: "a\ud800"})


@pytest.mark.parametrize("word", [None, 1, "a", [], {}, {"word": "a", "start": 1, "end": True, "confidence": 1}])
def test_a_word_that_is_none_is_an_error(word: object) -> None:
    with pytest.raises(DataError):
        parse("%R", {**GOOD["%R"], "words": [word]})


def test_keys_of_a_newer_server_are_passed_over() -> None:
    for header, fields in GOOD.items():
        assert parse(header, {**fields, "speaker": 3}) == parse(header, fields)
    assert parse("%V", {"event": "speaker_changed"}) is None


# --- both sides of a session


def streaming_client() -> ClientProtocol:
    protocol = ClientProtocol()
    protocol.ask_engine("x")
    protocol.begin()
    protocol.receive(b"%L0000")
    protocol.events()
    return protocol


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(GOOD["%R"])), inner),
    max_leaves=12,
)
HOSTILE = st.one_of(
    st.binary(max_size=60),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(list(NO_OBJECTS)),
    st.tuples(
        st.sampled_from(sorted(GOOD)), st.dictionaries(st.sampled_from(sorted(GOOD["%R"])), JSON, max_size=2)
    ).map(lambda pair: json.dumps({**GOOD[pair[0]], **pair[1]}).encode()),
)


@settings(deadline=None, max_examples=400)
@given(st.sampled_from([Header.PARTIAL, Header.RESULT, Header.EVENT]), HOSTILE)
@example(Header.EVENT, b'{"event":"speech_started","at":' + b"9" * 60_000 + b"}")
@example(Header.RESULT, b"{" + b'"a":[' * 13_000)
def test_whatever_a_server_says_a_client_has_an_event_or_one_line(header: Header, data: bytes) -> None:
    protocol = streaming_client()
    protocol.receive(encode_packet(header, data[:MAX_DATA_BYTES]))
    try:
        protocol.events()
    except ProtocolError as error:
        if not str(error).isprintable():
            raise


@settings(deadline=None, max_examples=400)
@given(HOSTILE)
@example(b'{"sample_rate":' + b"9" * 60_000 + b"}")
def test_whatever_a_client_asks_for_a_server_has_an_object_or_one_line(data: bytes) -> None:
    protocol = ServerProtocol()
    protocol.receive(MAGIC + b"%u0000")
    protocol.events()
    protocol.grant_engine()
    protocol.receive(encode_packet(Header.OPTIONS, data[:MAX_DATA_BYTES]))
    try:
        (event,) = protocol.events()
    except ProtocolError as error:
        if not (str(error).startswith("'%o': ") and str(error).isprintable()):
            raise
    else:
        assert isinstance(event, OptionsReceived)


@pytest.mark.parametrize("data", [rb'{"\ud800":1}', rb'{"language":{"a\udfff":1}}'])
def test_half_a_character_in_a_key_is_an_error(data: bytes) -> None:
    with pytest.raises(DataError, match="a key has half a surrogate pair"):
        parse_options(data)


@pytest.mark.parametrize("number", [1e308, -1e308, 1e9, 10**400])
def test_a_number_that_nobody_can_reckon_with_is_an_error(number: float) -> None:
    """A time of 1e308 s has no milliseconds: a subtitle of it ended the client."""
    fields = {**GOOD["%R"], "start": number}
    with pytest.raises(DataError, match="'start' is too large"):
        parse("%R", fields)
