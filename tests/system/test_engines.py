"""Engines that die or freeze: their client is told, nobody else notices, and they come back."""

import os
import signal
import time
from typing import Iterator

import psutil
import pytest

from tcp_client import ServerError, StreamingClient
from tests.harness.engines import engine_pids, statuses, wait_until_all_sleep
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


def test_a_frozen_engine_counts_as_dead_when_it_owes_an_answer(pair: ServerProcess, phrase: bytes) -> None:
    wait_until_all_sleep(pair)
    frozen = engine_pids(pair)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    with Wire(pair.port) as wire:
        wire.start("freezing")
        wire.send(audio_packets(phrase))
        assert error_code(wire.read_all()) == "ENGINE_FAILED"
    pair.wait_for_line(rf"it gave no answer for {HANG_TIMEOUT_S} s")
    for pid in set(frozen) & set(engine_pids(pair)):
        os.kill(pid, signal.SIGCONT)  # the one that owed nothing
    wait_until_all_sleep(pair)


def test_a_frozen_engine_does_not_block_a_sender_for_ever(pair: ServerProcess, speech: bytes) -> None:
    wait_until_all_sleep(pair)
    with StreamingClient("127.0.0.1", pair.port) as client:
        for pid in engine_pids(pair):
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ServerError, match="ENGINE_FAILED"):  # noqa: PT012 - some round fails, no one knows which
            while True:
                client.send(speech)
    for pid in engine_pids(pair):
        os.kill(pid, signal.SIGCONT)
    wait_until_all_sleep(pair)


def test_a_client_of_a_frozen_engine_may_leave_at_any_time(pair: ServerProcess) -> None:
    wait_until_all_sleep(pair)
    with Wire(pair.port) as wire:
        wire.start("leaver")
        for pid in engine_pids(pair):
            os.kill(pid, signal.SIGSTOP)
        # More than half a page of a pipe each; together little enough for the end of the stream to arrive behind them.
        for _ in range(30):
            wire.send(audio_packets(bytes(2100), 2100))
    pair.wait_for_line("user leaver.*: the client went away", HANG_TIMEOUT_S / 2)
    for pid in engine_pids(pair):
        os.kill(pid, signal.SIGCONT)
    wait_until_all_sleep(pair)


def test_an_idle_engine_that_dies_is_replaced(pair: ServerProcess) -> None:
    wait_until_all_sleep(pair)
    before = engine_pids(pair)
    victim = psutil.Process(before[0])
    victim.kill()
    victim.wait(10)
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


def test_a_session_outlives_the_process_that_its_engine_was_forked_from(phrase: bytes) -> None:
    with ServerProcess({"model": {"language": "en"}}) as server:
        engine = psutil.Process(engine_pids(server)[0])
        with Wire(server.port) as wire:
            wire.start()
            wire.send(audio_packets(phrase))
            fork_server = engine.parent()
            assert fork_server is not None
            fork_server.kill()
            wire.send(FINISH)
            packets = wire.read_all()
        assert "better" in results(packets)[0].lower()
        assert packets[-1] == END
        engine.kill()
        server.wait_for_line("engine 0: its process died .*it is started again")
        end_s = time.monotonic() + 60
        while statuses(server) != [b"engine 0: sleeping"]:
            assert time.monotonic() < end_s
        assert engine_pids(server)
