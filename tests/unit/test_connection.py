"""A client's thread: its socket, its mailbox and the clock, with a session behind them and engines that are played."""

from __future__ import annotations

import socket
import threading
import time
from typing import Callable, Iterator

import pytest

from boundary.messages import Consumed, Content, cost_bytes
from config.sections import ModelConfig, NetworkConfig, ServerConfig
from protocol.packets import (
    MAGIC,
    SERVER_HEADERS,
    Header,
    Packet,
    PacketParser,
)
from server.connection import Connection, House
from server.mailbox import Mailbox
from server.metrics import Metrics
from server.session import Message
from server.stream import PlainStream
from server.supervision import EngineState, Granted
from tests.harness.engines import wait_until
from tests.harness.wire import BEGIN, FINISH, STATUS, audio_packets, user_packet

TIMEOUT_S = 3.0
ENGINES = 1000  # so that a status is 25 kB


class Engines:
    """In place of the pool: what the connection asks of it."""

    def __init__(self, sessions: int) -> None:
        self.sessions = sessions
        self.cores = 2
        self.looks = 0  # that brought audio
        self.asked: list[str] = []
        self.heard = b""
        self.post: Callable[[Message], None] | None = None

    def states(self) -> list[EngineState]:
        return [EngineState.SLEEPING] * ENGINES

    def request(self, session: int, post: Callable[[Message], None], patience_s: float) -> None:
        self.asked.append("request")
        self.post = post
        post(Granted(0))

    def hand_on(self, session: int, content: Content) -> None:
        assert isinstance(content, bytes)
        self.looks += 1
        self.heard += content
        if self.post is not None:
            self.post(Consumed(session, cost_bytes(content), in_utterance=True))

    def finish(self, session: int) -> None:
        self.asked.append("finish")

    def release(self, session: int) -> None:
        self.asked.append("release")


class Client:
    """A connection in its thread, and the client's end of its socket, with buffers that hold little."""

    def __init__(self, sessions: int = 1) -> None:
        ours, self.socket = socket.socketpair()
        for end in (ours, self.socket):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.setblocking(False)
        self.socket.settimeout(10 * TIMEOUT_S)
        self.engines = Engines(sessions)
        config = ServerConfig(network=NetworkConfig(socket_timeout=TIMEOUT_S), model=ModelConfig(channel=sessions))
        mailbox: Mailbox[Message] = Mailbox()
        house = House(config, self.engines, Metrics())  # type: ignore[arg-type]
        self.connection = Connection(PlainStream(ours), mailbox, 1, "a client", house)
        self.busy_s = 0.0
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self.connection.run()
        self.busy_s = time.thread_time()

    def read_all(self) -> list[Packet]:
        parser = PacketParser(SERVER_HEADERS)
        while data := self.socket.recv(4096):
            parser.feed(data)
        return list(iter(parser.next_packet, None))

    def end(self) -> None:
        self.thread.join(10 * TIMEOUT_S)
        assert not self.thread.is_alive()
        self.socket.close()


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.socket.close()
    client.thread.join()


def test_what_a_client_takes_late_is_sent_without_spinning(client: Client) -> None:
    client.socket.sendall(MAGIC + user_packet() + BEGIN + STATUS * 20)
    client.thread.join(TIMEOUT_S / 3)  # it stands: the buffers are full
    assert client.thread.is_alive()
    client.socket.sendall(b"%x0000")
    packets = client.read_all()
    client.end()
    headers = [packet.header for packet in packets]
    assert headers.count(Header.ENGINE_STATUS) == 20 * ENGINES
    assert headers[-2:] == [Header.ERROR, Header.END]
    assert client.busy_s < TIMEOUT_S / 3


def test_a_client_that_takes_nothing_is_cut_off(client: Client) -> None:
    client.socket.sendall(MAGIC + user_packet() + BEGIN + STATUS * 20)
    client.end()
    assert client.engines.asked == ["request", "release", "release"]
    assert client.busy_s < TIMEOUT_S / 3


def test_a_client_that_closes_its_direction_while_the_last_packets_go_out_gets_them_all(client: Client) -> None:
    client.socket.sendall(MAGIC + STATUS)
    first = client.socket.recv(6)
    client.socket.shutdown(socket.SHUT_WR)
    assert first == b"%C0012"
    packets = b"".join(iter(lambda: client.socket.recv(4096), b""))
    client.end()
    assert packets.endswith(b"engine 999: sleeping%F0000")
    assert client.busy_s < TIMEOUT_S / 3


def test_a_client_that_closes_its_direction_in_a_session_has_left(client: Client) -> None:
    client.socket.sendall(MAGIC + user_packet() + BEGIN + audio_packets(b"ab") + FINISH)
    client.socket.shutdown(socket.SHUT_WR)
    client.end()
    assert client.engines.heard == b"ab"
    assert client.engines.asked[-1] == "release"


@pytest.fixture
def one_of_many() -> Iterator[Client]:
    """A client that speaks, as 59 others do."""
    client = Client(sessions=60)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    client.socket.sendall(MAGIC + user_packet() + BEGIN)
    wait_until(lambda: client.engines.post is not None)
    assert client.engines.post is not None
    client.engines.post(Consumed(1, 0, in_utterance=True))
    yield client
    client.socket.close()
    client.thread.join()


def test_of_many_who_speak_several_packets_are_taken_at_a_time_and_none_is_lost(one_of_many: Client) -> None:
    packets = 40
    for _ in range(packets):
        one_of_many.socket.sendall(audio_packets(bytes(320)))
        time.sleep(0.01)  # as a microphone sends them
    wait_until(lambda: len(one_of_many.engines.heard) == packets * 320)
    assert one_of_many.engines.looks < packets / 3
    one_of_many.socket.sendall(FINISH)
    wait_until(lambda: "finish" in one_of_many.engines.asked)


def test_one_of_many_who_leaves_while_nobody_looks_frees_its_engine(one_of_many: Client) -> None:
    one_of_many.socket.sendall(audio_packets(bytes(320)))
    wait_until(lambda: one_of_many.engines.looks == 1)
    one_of_many.socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: "release" in one_of_many.engines.asked)
