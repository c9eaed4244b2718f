"""Engines that die or freeze: their client is told, nobody else notices, and they come back."""

import os
import signal
from typing import Iterator

import psutil
import pytest

from server.memory import memory_of
from tcp_client import ServerError, SessionOptions, StreamingClient
from tests.harness.engines import engine_pids, frozen, kill, wait_until, wait_until_all_sleep
from tests.harness.server import ServerProcess
from tests.harness.wire import END, FINISH, Wire, audio_packets, error_code, results

HANG_TIMEOUT_S = 6


@pytest.fixture(scope="module")
def pair() -> Iterator[ServerProcess]:
    """A server with two engines."""
    with ServerProcess({"model": {"language": "en", "channel": 2, "hang_timeout": HANG_TIMEOUT_S}}) as process:
        yield process


def test_an_engine_that_is_killed_fails_its_client_alone_and_is_back(pair: ServerProcess, phrase: bytes) -> None:
    first_pid, second_pid = engine_pids(pair)
    with Wire(pair.port) as victim, Wire(pair.port) as other:
        victim.start("victim")
        other.start("other")
        victim_engine = int(pair.wait_for_line(r"starts: engine (\d), user victim").group(1))
        victim.send(audio_packets(phrase))
        other.send(audio_packets(phrase))
        os.kill((first_pid, second_pid)[victim_engine], signal.SIGKILL)
        assert error_code(victim.read_all()) == "ENGINE_FAILED"
        other.send(FINISH)
        packets = other.read_all()
        assert "better" in results(packets)[0].lower()
        assert packets[-1] == END
    wait_until_all_sleep(pair)
    assert set(engine_pids(pair)) != {first_pid, second_pid}
    with StreamingClient("127.0.0.1", pair.port) as again, StreamingClient("127.0.0.1", pair.port) as both:
        for client in (again, both):
            client.send(phrase)
            client.finish()
            assert "better" in " ".join(result.text.lower() for result in client.results())


def most_private_bytes(pair: ServerProcess) -> int:
    return max(memory_of(pid).private for pid in engine_pids(pair))


def test_an_engine_gives_memory_back_while_its_client_sends_nothing(pair: ServerProcess, speech: bytes) -> None:
    wait_until_all_sleep(pair)
    with StreamingClient("127.0.0.1", pair.port) as client:
        client.send(speech + bytes(32_000))
        assert next(iter(client.results())).text
        after_speech = most_private_bytes(pair)
        wait_until(lambda: most_private_bytes(pair) < after_speech - 5_000_000)


@pytest.mark.parametrize("partial", [False, True])
def test_an_engine_keeps_memory_for_the_next_client_and_gives_it_back_when_none_comes(
    pair: ServerProcess, speech: bytes, partial: bool
) -> None:
    wait_until_all_sleep(pair)
    with StreamingClient("127.0.0.1", pair.port, options=SessionOptions(partial=partial)) as client:
        client.send(speech)
        client.finish()
        assert any(result.text for result in client.results())
    after_speech = most_private_bytes(pair)
    wait_until(lambda: most_private_bytes(pair) < after_speech - 5_000_000)


def test_a_frozen_engine_counts_as_dead_when_it_owes_an_answer(pair: ServerProcess, phrase: bytes) -> None:
    wait_until_all_sleep(pair)
    with frozen(*engine_pids(pair)), Wire(pair.port) as wire:
        wire.start("freezing")
        wire.send(audio_packets(phrase))
        assert error_code(wire.read_all()) == "ENGINE_FAILED"
    pair.wait_for_line(rf"it gave no answer for {HANG_TIMEOUT_S} s")
    wait_until_all_sleep(pair)


def test_a_frozen_engine_does_not_block_a_sender_for_ever(pair: ServerProcess, speech: bytes) -> None:
    wait_until_all_sleep(pair)
    with StreamingClient("127.0.0.1", pair.port) as client, frozen(*engine_pids(pair)), pytest.raises(  # noqa: PT012 - in some round
        ServerError, match="ENGINE_FAILED"
    ):
        while True:
            client.send(speech)
    wait_until_all_sleep(pair)


def test_a_client_of_a_frozen_engine_may_leave_at_any_time(pair: ServerProcess) -> None:
    wait_until_all_sleep(pair)
    wire = Wire(pair.port)
    wire.start("leaver")
    with frozen(*engine_pids(pair)):
        # More than half a page of a pipe each; together little enough for the end of the stream to arrive behind them.
        for _ in range(30):
            wire.send(audio_packets(bytes(2100), 2100))
        wire.socket.close()
        pair.wait_for_line("user leaver.*: the client went away", HANG_TIMEOUT_S / 2)
    wait_until_all_sleep(pair)


def test_an_idle_engine_that_dies_is_replaced(pair: ServerProcess) -> None:
    wait_until_all_sleep(pair)
    before = engine_pids(pair)
    kill(before[0])
    wait_until_all_sleep(pair)
    assert before[0] not in engine_pids(pair)
    assert before[1] in engine_pids(pair)


def test_killing_the_server_leaves_no_engine_behind(phrase: bytes) -> None:
    with ServerProcess({"model": {"language": "en"}}) as server:
        family = psutil.Process(server.process.pid).children(recursive=True)
        assert len(family) >= 2
        with Wire(server.port) as wire:
            wire.start()
            wire.send(audio_packets(phrase))
            server.process.kill()
            _, alive = psutil.wait_procs(family, timeout=30)
        assert alive == []


def test_a_session_that_waits_for_nothing_is_not_taken_for_a_hang(pair: ServerProcess) -> None:
    wait_until_all_sleep(pair)
    with Wire(pair.port) as wire:
        wire.start("silent")
        wire.socket.settimeout(1.5 * HANG_TIMEOUT_S)
        with pytest.raises(OSError, match="timed out"):
            wire.read()
        wire.socket.settimeout(60)
        wire.send(FINISH)
        assert wire.read_all() == [END]
