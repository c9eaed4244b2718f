"""`StreamingClient` against servers that do what they should, and others."""

import re
import socket
import struct
from contextlib import suppress
from typing import Callable, List

import pytest

from protocol.data import (
    Cause,
    Detail,
    DetailedResult,
    Partial,
    SessionOptions,
    SpeechStarted,
    SpeechStopped,
    UtteranceDone,
    Word,
)
from protocol.packets import ErrorCode
from tcp_client import ClientError, ConnectionLost, ServerError, StrangeServer, StreamingClient, WelcomeTimeout
from tests.harness.scripted import Serve, says, serving, session, until_it_leaves
from util import (
    END_PACKET,
    AudioFinished,
    AudioReceived,
    Event,
    OptionsReceived,
    Result,
    UtteranceEnded,
    detailed_result_packet,
    error_packet,
    event_packet,
    partial_packet,
    result_packet,
    welcome_packet,
)

FAILED = error_packet(ErrorCode.ENGINE_FAILED, "engine 0: it died") + END_PACKET


def client_of(port: int, welcome_timeout_s: float = 60.0) -> StreamingClient:
    return StreamingClient("127.0.0.1", port, user="kiosk-7", welcome_timeout_s=welcome_timeout_s)


# --- sessions


def test_results_are_read_until_the_session_has_ended() -> None:
    last = result_packet(2.5, 3, "two") + END_PACKET
    with serving(session(last, at_welcome=b"%C0011engine 0: running")) as port, client_of(port) as client:
        assert client.welcome == "engine 0 is yours"
        client.send(bytes(100_000))
        client.finish()
        assert list(client.results()) == [Result(2.5, 3.0, "two")]
        assert list(client.results()) == []


DETAIL = Detail("en", Cause.ASKED, -0.31, 0.02, 0.87, (Word("one", 0.3, 1.5, 0.91),))
TOLD = [
    SpeechStarted(0.3),
    Partial(0.3, 0.9, "o", "n"),
    SpeechStopped(1.5, Cause.ASKED),
    Result(0.3, 1.5, "one", DETAIL),
    UtteranceDone(0.3, 1.5, Cause.ASKED, has_text=True),
]
TELLING = (
    event_packet(SpeechStarted(0.3))
    + partial_packet(Partial(0.3, 0.9, "o", "n"), detailed=True)
    + event_packet(SpeechStopped(1.5, Cause.ASKED))
    + detailed_result_packet(DetailedResult(0.3, 1.5, "one", DETAIL))
    + event_packet(UtteranceDone(0.3, 1.5, Cause.ASKED, has_text=True))
    + END_PACKET
)


def test_all_that_was_asked_for_is_read_in_the_order_in_which_it_comes() -> None:
    heard: List[Event] = []
    options = SessionOptions(language="en", partial=True, events=True, detail=True)
    with serving(session(TELLING, hear=heard.extend)) as port, StreamingClient(
        "127.0.0.1", port, options=options
    ) as client:
        client.send(b"ab")
        client.end_utterance()
        client.send(b"cd")
        client.finish()
        assert list(client.events()) == TOLD
        assert list(client.events()) == []
    asked = {"language": "en", "partial": True, "events": True, "detail": True}
    assert heard[1:] == [
        OptionsReceived(asked),
        AudioReceived(b"ab"),
        UtteranceEnded(),
        AudioReceived(b"cd"),
        AudioFinished(),
    ]


def test_results_pass_over_what_is_none() -> None:
    with serving(session(TELLING)) as port, client_of(port) as client:
        client.finish()
        assert list(client.results()) == [Result(0.3, 1.5, "one", DETAIL)]


def test_one_iterator_goes_on_where_the_other_has_stopped() -> None:
    with serving(session(TELLING)) as port, client_of(port) as client:
        client.finish()
        assert next(client.results()) == TOLD[3]
        assert list(client.events()) == TOLD[4:]


def test_options_that_a_server_cannot_do_end_the_session_with_its_reason() -> None:
    refusal = error_packet(ErrorCode.ILLEGAL_PACKET, "language: got 'xx'; expected a language code") + END_PACKET
    with serving(session(at_audio=refusal)) as port, StreamingClient(
        "127.0.0.1", port, options=SessionOptions(language="xx")
    ) as client:
        client.send(b"ab")
        with pytest.raises(ServerError, match="ILLEGAL_PACKET: language: got 'xx'"):
            list(client.events())


def test_the_status_is_a_line_for_each_engine() -> None:
    with serving(session()) as port:
        assert client_of(port).status() == ["engine 0: sleeping"]


def test_a_sender_learns_why_the_server_has_ended_the_session() -> None:
    """Also after what it had to say has arrived, when sending has no place any more."""
    with serving(session(at_audio=FAILED)) as port, client_of(port) as client:
        client.send(bytes(100))
        calls: List[Callable[[], object]] = [lambda: list(client.results()), lambda: client.send(bytes(100))]
        for call in (*calls, client.finish):
            with pytest.raises(ServerError) as caught:
                call()
            assert (caught.value.code, caught.value.detail) == ("ENGINE_FAILED", "engine 0: it died")
            assert str(caught.value) == "ENGINE_FAILED: engine 0: it died"


def test_an_error_in_place_of_an_engine_is_raised_by_connect() -> None:
    with serving(says(error_packet(ErrorCode.SERVER_TOO_BUSY) + END_PACKET)) as port:
        with pytest.raises(ServerError) as caught:
            client_of(port).connect()
        assert (caught.value.code, caught.value.detail, str(caught.value)) == (
            *("SERVER_TOO_BUSY", ""),
            "SERVER_TOO_BUSY",
        )


def test_calls_out_of_order_are_faults_of_the_program() -> None:
    with serving(session(END_PACKET)) as port, client_of(port) as client:
        client.finish()
        calls: List[Callable[[], object]] = [lambda: client.send(b"more"), client.end_utterance, client.finish]
        for call in calls:
            with pytest.raises(RuntimeError, match="has no place here"):
                call()
    for late in (client, StreamingClient("127.0.0.1", port)):
        with pytest.raises(ConnectionLost, match="not open"):
            late.send(b"more")


# --- a server that says nothing


@pytest.mark.parametrize("call", [StreamingClient.connect, StreamingClient.status])
def test_a_server_that_gives_no_answer_is_left_after_the_limit(call: Callable[[StreamingClient], object]) -> None:
    with serving(until_it_leaves) as port, pytest.raises(WelcomeTimeout, match=r"no answer within 0\.2 s"):
        call(client_of(port, welcome_timeout_s=0.2))


# --- what is no server of this kind


def says_it_first(banner: bytes) -> Serve:
    def serve(connection: socket.socket) -> None:
        connection.sendall(banner)
        with suppress(ConnectionError):
            until_it_leaves(connection)

    return serve


@pytest.mark.parametrize(
    ("serve", "shown"),
    [
        (says(b"HTTP/1.1 400 Bad Request\r\nServer: x"), r"it says 'HTTP/1\.1 400 Bad Request\\r\\nServer: x'"),
        (says_it_first(b"SSH-2.0-OpenSSH_9.6\r\n"), r"it says 'SSH-2\.0-OpenSSH_9\.6\\r\\n'"),
        (says_it_first(b"220 mail ESMTP\r\n"), "it says '220 mail"),
        (says_it_first(b"\0" * 5000), r"it says '(\\x00)+…'"),
    ],
)
def test_what_answers_in_another_language_is_shown_and_called_no_server(serve: Serve, shown: str) -> None:
    with serving(serve) as port:
        with pytest.raises(StrangeServer, match=shown) as caught:
            client_of(port).connect()
        assert f"127.0.0.1 port {port} is no speech-to-text server" in str(caught.value)
        assert str(caught.value).isprintable()


def test_a_server_that_wants_tls_is_told_from_others() -> None:
    with serving(says(b"\x15\x03\x01\x00\x02\x02\x46")) as port, pytest.raises(StrangeServer, match="with TLS only"):
        client_of(port).status()


def resets(connection: socket.socket) -> None:
    connection.recv(1024)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("serve", [says(b""), says(b"%L00"), resets])
def test_what_closes_without_a_word_is_called_no_server_with_what_else_it_may_be(serve: Serve) -> None:
    with serving(serve) as port, pytest.raises(StrangeServer) as caught:
        client_of(port).connect()
    assert re.search("without a word.*no speech-to-text server, or one that expects TLS", str(caught.value))


# --- a server that breaks off


def test_a_server_that_is_gone_in_mid_session_is_a_lost_connection() -> None:
    with serving(says(welcome_packet(""))) as port, pytest.raises(ConnectionLost) as caught, client_of(port) as client:
        list(client.results())
    assert re.search("closed the connection before the session was over|was lost", str(caught.value))
    assert not isinstance(caught.value, StrangeServer)


@pytest.mark.parametrize("packet", [b"%R0003abc", b"%u0000", b"garbage", END_PACKET, b"%C0003abc", welcome_packet("")])
def test_a_packet_that_is_wrong_in_a_session_is_a_broken_protocol(packet: bytes) -> None:
    with serving(session(at_audio=packet)) as port, client_of(port) as client:
        client.send(b"abc")
        with pytest.raises(StrangeServer, match="broke the protocol"):
            list(client.results())


def test_every_error_of_a_client_is_one_line() -> None:
    with serving(says(error_packet(ErrorCode.TIMEOUT, "two\nlines") + END_PACKET)) as port:
        with pytest.raises(ClientError) as caught:
            client_of(port).connect()
        assert str(caught.value) == "TIMEOUT: two\\nlines"
