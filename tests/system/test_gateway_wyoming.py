"""Wyoming's door, with the protocol's own client as it is, and with sockets that do what no client should."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Iterator

import pytest

from bench.recordings import Recording
from bench.speech import error_rate
from gateway.wyoming import Event, EventParser, encode_event
from protocol.data import SessionOptions
from tests.harness.clients import run_client
from tests.harness.doors import saved, tcp_text, wait_until_free
from tests.harness.gateway import GatewayProcess
from tests.harness.server import ServerProcess

FORM = {"rate": 16000, "width": 2, "channels": 1}
DESCRIBE, STOP = encode_event(Event("describe")), encode_event(Event("audio-stop"))
WAIT_S = 60.0


@pytest.fixture(autouse=True)
def _free_engine(server: ServerProcess) -> None:
    wait_until_free(server)


def chunk(pcm: bytes) -> bytes:
    return encode_event(Event("audio-chunk", FORM, pcm))


class Client:
    """A socket and the events that come out of it."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.socket = socket.create_connection(("127.0.0.1", gateway.port_of("wyoming")), WAIT_S)
        self._parser = EventParser()
        self._events: list[Event] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def event(self) -> Event | None:
        """The next one; None at the end of the connection."""
        while not self._events:
            data = self.socket.recv(65536)
            if not data:
                return None
            self._events += self._parser.receive(data)
        return self._events.pop(0)

    def transcript(self) -> str:
        """The next one."""
        for event in iter(self.event, None):
            if event.type == "transcript":
                return str(event.data["text"])
        raise AssertionError("the gateway has left")

    def kinds(self) -> list[str]:
        """Of all events until the end."""
        return [event.type for event in iter(self.event, None)]


def transcripts(events: list[Any]) -> list[str]:
    return [event["data"]["text"] for event in events if event["type"] == "transcript"]


# --- the protocol's own client


def test_rounds_follow_each_other_and_the_text_is_that_of_tcp(
    server: ServerProcess, gateway: GatewayProcess, speech: bytes, tmp_path: Path
) -> None:
    path = saved(tmp_path, speech)
    events = run_client("wyoming_client.py", "127.0.0.1", str(gateway.port_of("wyoming")), "en", path, path)
    expected = tcp_text(server, speech)
    first, second = transcripts(events)
    assert first == expected
    assert error_rate([[expected]], [second], "en") < 0.2
    one_round = ["transcript-start", "transcript-chunk", "transcript-chunk", "transcript", "transcript-stop"]
    assert [event["type"] for event in events] == ["info", *one_round, *one_round]
    chunks = [event["data"]["text"] for event in events if event["type"] == "transcript-chunk"]
    assert "".join(chunks[:2]) == first
    assert all(event["data"]["language"] == "en" for event in events if event["type"] == "transcript")


def test_korean_is_heard_as_over_tcp(
    server: ServerProcess, gateway: GatewayProcess, recordings: list[Recording], tmp_path: Path
) -> None:
    spoken = next(one for one in recordings if one.language == "ko" and one.references and len(one.pcm) > 4 * 32000)
    events = run_client(
        "wyoming_client.py", "127.0.0.1", str(gateway.port_of("wyoming")), "ko", saved(tmp_path, spoken.pcm)
    )
    (text,) = transcripts(events)
    assert text == tcp_text(server, spoken.pcm, SessionOptions(sample_rate=16000, language="ko"))
    assert error_rate([spoken.references], [text], "ko") < 0.4


def test_48_khz_stereo_of_32_bits_is_heard_too(gateway: GatewayProcess, phrase: bytes) -> None:
    wide = b"".join((b"\0\0" + phrase[at : at + 2]) * 6 for at in range(0, len(phrase), 2))  # each frame three times
    with Client(gateway) as client:
        for at in range(0, len(wide), 96_000):
            client.say(
                encode_event(Event("audio-chunk", {"rate": 48000, "width": 4, "channels": 2}, wide[at : at + 96_000]))
            )
        client.say(STOP)
        assert "better" in client.transcript()


# --- what no client should do


def test_a_busy_server_is_told_as_an_error_and_the_one_who_is_served_notices_nothing(
    gateway: GatewayProcess, phrase: bytes
) -> None:
    with Client(gateway) as first, Client(gateway) as second:
        first.say(chunk(phrase[:32000]) + STOP)
        first.transcript()  # so it has the engine
        second.say(chunk(phrase) + DESCRIBE * 3)
        error = second.event()
        assert error is not None
        assert (error.type, error.data["code"]) == ("error", "Busy")
        assert second.kinds() == []
        first.say(chunk(phrase) + STOP)
        assert "better" in first.transcript()


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\n",
        b"x" * 100_000,
        b'{"type": "audio-chunk", "payload_length": 99999999999}\n',
        b'{"type": "audio-chunk", "data_length": -1}\n',
        b'{"type": "audio-start", "data": {"rate": 1}}\n',
    ],
)
def test_rubbish_is_told_as_an_error_and_ends_the_connection(gateway: GatewayProcess, rubbish: bytes) -> None:
    with Client(gateway) as client:
        client.say(DESCRIBE + rubbish)
        assert client.kinds() == ["info", "error"]


def test_who_stops_in_the_middle_of_an_event_disturbs_nobody_and_leaves_nothing(
    server: ServerProcess, gateway: GatewayProcess, phrase: bytes
) -> None:
    halves = [
        DESCRIBE[:7],
        chunk(phrase)[:5000],
        chunk(phrase[:9600]) + chunk(phrase)[:90],
        b'{"type": "a", "payload_length": 9}\n',
    ]
    with ExitStack() as stack:
        for half in halves:
            wait_until_free(server)
            with Client(gateway) as client:
                client.say(half)
        clients = [stack.enter_context(Client(gateway)) for _ in range(200)]
        for client in clients:
            client.say(DESCRIBE[:7])
        wait_until_free(server)
        with Client(gateway) as client:
            client.say(chunk(phrase) + STOP)
            text = client.transcript()
        wait_until_free(server)
        assert text == tcp_text(server, phrase)
        for client in clients:
            client.say(DESCRIBE[7:])
        assert {event.type for event in (client.event() for client in clients) if event is not None} == {"info"}


# --- its limits


@pytest.fixture
def small(server: ServerProcess) -> Iterator[GatewayProcess]:
    with GatewayProcess([server.port], {"max_connections": 2}) as process:
        yield process


def test_who_comes_when_there_are_enough_is_told_and_the_next_is_served_when_one_has_left(
    small: GatewayProcess,
) -> None:
    with Client(small) as first, Client(small) as second:
        for client in (first, second):
            client.say(DESCRIBE)
            assert client.event() is not None
        with Client(small) as third:
            assert third.kinds() == ["error"]
    served = False
    while not served:
        with Client(small) as client:
            client.say(DESCRIBE)
            event = client.event()
            served = event is not None and event.type == "info"


def test_after_the_signal_who_is_served_finishes_and_nobody_new_is_taken_in(
    small: GatewayProcess, phrase: bytes
) -> None:
    with Client(small) as client:
        client.say(DESCRIBE)
        assert client.event() is not None
        small.process.send_signal(signal.SIGTERM)
        small.wait_for_line("stopping")
        with pytest.raises(OSError, match="refused"):
            Client(small)
        client.say(chunk(phrase) + STOP)
        assert "better" in client.transcript()
    assert small.wait() == 0


def test_who_does_not_finish_is_left(server: ServerProcess) -> None:
    with GatewayProcess([server.port], {"drain_timeout": 0}) as gateway, Client(gateway) as client:
        client.say(DESCRIBE)
        assert client.event() is not None
        gateway.process.send_signal(signal.SIGTERM)
        assert client.kinds() == []
        assert gateway.wait() == 0
