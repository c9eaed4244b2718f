"""Clients that lie, stall and vanish: each is told what is wrong, and none costs the next one anything."""

import contextlib
import socket
import threading
import time
from typing import Iterator, List

import psutil
import pytest

from protocol.packets import MAGIC, Header, Packet
from tcp_client import ServerError, StreamingClient
from tests.harness.engines import wait_until
from tests.harness.leaving import LEAVINGS, Leaving
from tests.harness.server import ServerProcess
from tests.harness.wire import (
    BEGIN,
    END,
    FINISH,
    RECEIVE_TIMEOUT_S,
    STATUS,
    Wire,
    audio_packets,
    error_code,
    results,
    session_bytes,
    user_packet,
)

TIMEOUT_S = 2.0


@pytest.fixture(scope="module")
def impatient() -> Iterator[ServerProcess]:
    """A server that waits for no byte longer than TIMEOUT_S, and for its turn a client may wait."""
    network = {"socket_timeout": TIMEOUT_S, "engine_wait": 20, "max_connections": 8}
    with ServerProcess({"network": network, "model": {"language": "en"}}) as process:
        yield process


def assert_free(server: ServerProcess) -> None:
    """The only engine can be had."""
    with StreamingClient("127.0.0.1", server.port) as client:
        client.finish()
        assert list(client.results()) == []


# --- what breaks the protocol


@pytest.mark.parametrize("opening", [b"G", b"WHISPER_STREAMING_V2", b"WHISPER_STREAMING_V1.1", b"\0" * 22])
def test_wrong_opening_bytes_are_answered_with_nothing(server: ServerProcess, opening: bytes) -> None:
    with Wire(server.port) as wire:
        wire.send(opening)
        with contextlib.suppress(ConnectionResetError):  # the server closed before it had read everything
            assert wire.read_all() == []


@pytest.mark.parametrize(
    "packets",
    [
        BEGIN,
        audio_packets(bytes(960)),
        FINISH,
        b"%L0000",
        b"%x0000",
        b"hello",
        b"%u-001",
        b"%u0x1f",
        b"%c0001x",
        user_packet() + audio_packets(bytes(960)),
        user_packet() + FINISH,
        user_packet() + user_packet(),
        user_packet() + BEGIN + BEGIN,
        user_packet() + BEGIN + user_packet(),
        user_packet() + b"%b0001x",
        user_packet() + BEGIN + b"%s 1f ",
        user_packet() + BEGIN + b"%s1_00",
        user_packet() + BEGIN + b"%f0001x",
        user_packet() + BEGIN + b"%R0000",
    ],
)
def test_an_illegal_packet_is_named_and_ends_the_session(server: ServerProcess, packets: bytes) -> None:
    with Wire(server.port) as wire:
        wire.send(MAGIC + packets)
        assert error_code(wire.read_all()) == "ILLEGAL_PACKET"
    assert_free(server)


def test_audio_after_the_end_is_illegal_while_results_are_computed(server: ServerProcess, phrase: bytes) -> None:
    with Wire(server.port) as wire:
        wire.send(MAGIC + user_packet() + BEGIN + audio_packets(phrase) + FINISH + audio_packets(bytes(960)))
        assert error_code(wire.read_all()) == "ILLEGAL_PACKET"
    assert_free(server)


def test_an_error_reaches_a_client_that_is_still_sending(server: ServerProcess) -> None:
    with Wire(server.port) as wire:
        wire.start()
        wire.send(b"%x0000" + bytes(3_000_000))  # far more than the kernel's buffers hold
        assert error_code(wire.read_all()) == "ILLEGAL_PACKET"
    assert_free(server)


def test_a_client_that_sends_on_and_on_after_its_session_is_thrown_out(server: ServerProcess) -> None:
    """Defends: the reader stops when the writer is done; the end of a stream that never pauses is never read."""
    with Wire(server.port) as wire:
        wire.start()
        wire.send(b"%x0000")

        def push() -> None:
            with contextlib.suppress(OSError):
                while True:
                    wire.socket.sendall(bytes(1_000_000))

        pushers = [threading.Thread(target=push, daemon=True) for _ in range(2)]
        for pusher in pushers:
            pusher.start()
        for pusher in pushers:
            pusher.join(RECEIVE_TIMEOUT_S)
            assert not pusher.is_alive()
    assert_free(server)


# --- clients that go away


def next_session(server: ServerProcess, pcm: bytes) -> List[str]:
    """Results of the first session that gets the engine: an orderly close is read behind what was sent before it."""
    packets: List[Packet] = []

    def is_served() -> bool:
        with Wire(server.port) as wire:
            wire.send(session_bytes(pcm, "next"))
            packets[:] = wire.read_all()
        if packets[-1] == END and packets[-2].header is not Header.ERROR:
            return True
        assert error_code(packets) == "SERVER_TOO_BUSY"
        return False

    wait_until(is_served)
    return results(packets)


@pytest.mark.parametrize("reset", [False, True], ids=["closing", "reset"])
@pytest.mark.parametrize("leave", LEAVINGS)
def test_a_client_that_leaves_frees_its_engine_and_leaves_nothing_to_the_next(
    server: ServerProcess, speech: bytes, leave: Leaving, reset: bool
) -> None:
    with Wire(server.port) as wire:
        leave(wire, speech)
        if reset:
            wire.reset()
    assert next_session(server, bytes(32000)) == []


# --- clients that stall


def test_a_client_that_says_nothing_is_timed_out(impatient: ServerProcess) -> None:
    with Wire(impatient.port) as wire:
        assert error_code(wire.read_all()) == "TIMEOUT"


def test_a_session_without_a_byte_is_timed_out(impatient: ServerProcess) -> None:
    with Wire(impatient.port) as wire:
        wire.start()
        assert error_code(wire.read_all()) == "TIMEOUT"
    assert_free(impatient)


@pytest.mark.parametrize(
    ("begun", "rest"), [(b"", MAGIC + user_packet()), (MAGIC + user_packet() + BEGIN, b"%s0100" + bytes(256))]
)
def test_a_byte_now_and_then_keeps_no_connection_alive(impatient: ServerProcess, begun: bytes, rest: bytes) -> None:
    with Wire(impatient.port) as wire:
        wire.send(begun)
        wire.socket.settimeout(TIMEOUT_S / 10)  # the pause between two bytes
        received = b""
        for index in range(len(rest)):
            wire.send(rest[index : index + 1])
            try:
                received += wire.socket.recv(65536)
            except socket.timeout:
                continue
            if b"%E" in received:
                break
        assert b"TIMEOUT" in received
    assert_free(impatient)


def test_waiting_for_the_last_results_is_no_time_out(impatient: ServerProcess, speech: bytes) -> None:
    with Wire(impatient.port) as wire:
        wire.start()
        wire.send(audio_packets(speech + speech) + FINISH)  # longer to recognise than TIMEOUT_S
        packets = wire.read_all()
    assert len(results(packets)) >= 3
    assert packets[-1] == END


def test_a_client_that_never_reads_is_cut_off_and_delays_nobody(impatient: ServerProcess) -> None:
    with Wire(impatient.port) as deaf:
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.start("deaf")
        deaf.socket.settimeout(TIMEOUT_S)
        # Its answers fill every buffer, then the server stops listening, then it leaves.
        with pytest.raises(OSError, match=r"timed out|reset|Broken pipe"):  # noqa: PT012 - in some round
            while True:
                deaf.send(STATUS * 1000)
        impatient.wait_for_line(r"ends: engine 0, user deaf")
    assert_free(impatient)


def rests(server: ServerProcess) -> bool:
    """Whether the server's own process uses no processor, for a moment."""
    process = psutil.Process(server.process.pid)
    before_s = sum(process.cpu_times()[:2])
    time.sleep(0.3)
    return sum(process.cpu_times()[:2]) - before_s < 0.03


def test_who_reads_late_gets_everything(server: ServerProcess) -> None:
    """Defends: what could not be sent is sent when the client takes it, however much has gathered."""
    questions = 250_000  # their answers are more than the server keeps and the kernel's buffers hold
    with Wire(server.port) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        wire.start("late")
        sender = threading.Thread(target=wire.send, args=(STATUS * questions + FINISH,))
        sender.start()
        wait_until(lambda: rests(server))  # it waits for the client, and does not spin
        packets = wire.read_all()
        sender.join()
    assert [packet.header for packet in packets].count(Header.ENGINE_STATUS) == questions
    assert packets[-1] == END


# --- taking turns


def test_clients_wait_their_turn_first_come_first_served(impatient: ServerProcess) -> None:
    with Wire(impatient.port) as first, Wire(impatient.port) as second, Wire(impatient.port) as third:
        first.start("first")
        second.send(MAGIC + user_packet("second") + BEGIN + FINISH)  # sends ahead
        assert_waiting(impatient)
        third.send(MAGIC + user_packet("third"))
        assert_waiting(impatient)
        first.send(FINISH)
        assert first.read_all() == [END]
        assert [packet.header for packet in second.read_all()] == [Header.WELCOME, Header.END]
        welcome = third.read()
        assert welcome is not None
        assert welcome.header is Header.WELCOME


def assert_waiting(server: ServerProcess) -> None:
    """Let the server take in what was sent: it answers a later connection after it."""
    with Wire(server.port) as wire:
        wire.send(MAGIC + STATUS)
        assert wire.read_all() == [Packet(Header.ENGINE_STATUS, b"engine 0: running"), END]


def test_a_client_that_leaves_the_queue_takes_no_turn(impatient: ServerProcess) -> None:
    with Wire(impatient.port) as first:
        first.start("first")
        with Wire(impatient.port) as impatient_client:
            impatient_client.send(MAGIC + user_packet("leaver"))
            assert_waiting(impatient)
        first.send(FINISH)
        assert first.read_all() == [END]
    assert_free(impatient)
    assert not any("user leaver" in line for line in impatient.lines)


def test_a_connection_too_many_is_closed_unread(impatient: ServerProcess) -> None:
    wires = [Wire(impatient.port) for _ in range(8)]
    try:
        with Wire(impatient.port) as surplus:
            assert surplus.read_all() == []
        impatient.wait_for_line("turned away: network.max_connections")
    finally:
        for wire in wires:
            wire.socket.close()


def test_being_busy_is_an_error_with_a_code(server: ServerProcess) -> None:
    with Wire(server.port) as first, Wire(server.port) as second:
        first.start()
        second.send(MAGIC + user_packet())
        assert error_code(second.read_all()) == "SERVER_TOO_BUSY"
        with pytest.raises(ServerError, match="SERVER_TOO_BUSY"):
            StreamingClient("127.0.0.1", server.port).connect()
    assert_free(server)
