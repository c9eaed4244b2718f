"""The figures and the health of the real server: each figure moves when it should, each answer is right in its time."""

from __future__ import annotations

import json
import re
import signal
import socket
import threading
import time
from contextlib import ExitStack
from typing import Any, Iterator

import numpy as np
import pytest

from protocol.packets import MAGIC
from service.checks import INTERVAL_S
from tcp_client import SessionOptions, StreamingClient
from tests.harness.engines import engine_pids, frozen, kill, wait_until
from tests.harness.metrics import Figures, answered, ask, figures
from tests.harness.noises import melody
from tests.harness.server import ServerProcess, Settings, free_ports
from tests.harness.wire import END, FINISH, Wire, audio_packets, error_code, results, session_bytes, user_packet

ENGINES = 2
HANG_TIMEOUT_S = 6
SOON_S = 4.0  # for an answer that waits for nobody, or for an engine to say that it is there
PACKET_BYTES = 960
PACKET_S = 0.03


class Watched:
    """A server with figures, health and an agent."""

    def __init__(self) -> None:
        self.port, self.agent_port = free_ports(2)
        self.settings: Settings = {
            "model": {"language": "en", "channel": ENGINES, "hang_timeout": HANG_TIMEOUT_S},
            "metrics": {"port": self.port},
            "agent": {"port": self.agent_port},
            "network": {"max_per_ip": 8},
            "logging": {"format": "json", "level": "debug"},
        }
        self.server = ServerProcess(self.settings)

    def figures(self) -> Figures:
        return figures(self.port)

    def answer(self, path: str, within_s: float = SOON_S) -> tuple[int, str]:
        """Status and line, which must come in time."""
        return answered(self.port, path, within_s)

    def agent_says(self) -> str:
        with socket.create_connection(("127.0.0.1", self.agent_port), 10) as asking:
            return b"".join(iter(lambda: asking.recv(100), b"")).decode()

    def wait_until_free(self) -> None:
        """Until every engine is."""
        wait_until(lambda: self.figures()['stt_engines{state="sleeping"}'] == ENGINES)

    def events(self, kind: str, **values: Any) -> list[dict[str, Any]]:
        """Lines of the log of that kind with these values, as far as it is written."""
        lines = (self.server.folder / "log" / "stt_log").read_text().splitlines()
        wanted = {"event": kind, **values}.items()
        return [line for line in map(json.loads, lines) if wanted <= line.items()]

    def event(self, kind: str, **values: Any) -> dict[str, Any]:
        """The one line, which may still be on its way."""
        wait_until(lambda: bool(self.events(kind, **values)))
        (line,) = self.events(kind, **values)
        return line


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    watched = Watched()
    with watched.server:
        yield watched


def speak(port: int, pcm: bytes) -> str:
    """As fast as people do, so that there is live text."""
    began_s = time.monotonic()
    with StreamingClient("127.0.0.1", port, user="speaker", options=SessionOptions(partial=True)) as client:
        for number, offset in enumerate(range(0, len(pcm), PACKET_BYTES), start=1):
            client.send(pcm[offset : offset + PACKET_BYTES])
            time.sleep(max(0.0, began_s + number * PACKET_S - time.monotonic()))
        client.finish()
        return " ".join(result.text for result in client.results())


# --- figures


def test_a_session_with_live_text_moves_the_figures_and_its_line_says_the_same(watched: Watched, phrase: bytes) -> None:
    before = watched.figures()
    assert "better" in speak(watched.server.port, phrase).lower()
    wait_until(lambda: watched.figures()["stt_sessions_active"] == 0)
    moved = watched.figures().since(before)
    assert moved['stt_sessions_total{outcome="completed"}'] == 1
    assert moved["stt_engine_wait_seconds_count"] == 1
    assert moved["stt_engine_wait_seconds_sum"] < 1
    assert moved["stt_audio_seconds_total"] == pytest.approx(len(phrase) / 32000, abs=0.001)
    n_results = moved['stt_segments_total{result="text"}']
    assert moved["stt_result_latency_seconds_count"] == n_results >= 1
    assert 0 < moved["stt_result_latency_seconds_sum"] / n_results < 10
    assert moved["stt_decode_seconds_count"] >= n_results
    assert 0 < moved["stt_decode_seconds_sum"] < moved["stt_decoded_audio_seconds_total"] * 10
    assert 1 < moved["stt_decoded_audio_seconds_total"] < len(phrase) / 32000
    assert moved["stt_partials_total"] == moved["stt_partial_age_seconds_count"] >= 1
    assert 0 < moved["stt_partial_age_seconds_sum"] / moved["stt_partials_total"] < 10
    line = watched.event("session_ended", user="speaker")
    assert (line["ending"], line["partials"]) == ("completed", moved["stt_partials_total"])
    assert 0 < line["latency_median_s"] <= line["latency_worst_s"] < 10
    assert re.search(r"waited 0\.\d s, .* \(0 suppressed\), \d+ partials, latency \d\.\d\d s \(worst ", line["message"])
    assert {"time", "level", "process", "session", "engine"} <= line.keys()


def test_noise_moves_what_is_suppressed_or_empty(watched: Watched) -> None:
    before = watched.figures()
    with Wire(watched.server.port) as wire:
        wire.send(session_bytes((melody() * 32767).astype(np.int16).tobytes()))
        assert results(wire.read_all()) == []
    moved = watched.figures().since(before)
    assert moved['stt_segments_total{result="suppressed"}'] >= 1
    assert "stt_result_latency_seconds_count" not in moved


def test_every_other_end_and_every_refusal_is_counted(watched: Watched) -> None:
    port, before = watched.server.port, watched.figures()
    with Wire(port) as wire:
        wire.start("who breaks the protocol")
        wire.send(b"%x0000")
        assert error_code(wire.read_all()) == "ILLEGAL_PACKET"
    with Wire(port) as wire:
        wire.start("who leaves")
    with Wire(port) as wire:
        wire.send(b"GET / HTTP/1.1\r\n\r\n")
        assert wire.read_all() == []
    with ExitStack() as stack:
        for number in range(ENGINES):
            stack.enter_context(Wire(port)).start(f"holder {number}")
        assert watched.figures()["stt_sessions_active"] == ENGINES
        assert watched.figures()['stt_engines{state="running"}'] == ENGINES
        with Wire(port) as wire:
            wire.send(MAGIC + user_packet("who is too many"))
            assert error_code(wire.read_all()) == "SERVER_TOO_BUSY"
        for _ in range(8 - ENGINES):
            stack.enter_context(Wire(port))
        with Wire(port) as wire:
            assert is_closed(wire)
    wait_until(lambda: watched.figures()["stt_sessions_active"] == 0)
    watched.wait_until_free()
    moved = watched.figures().since(before)
    assert moved['stt_sessions_total{outcome="illegal_packet"}'] == 1
    assert moved['stt_sessions_total{outcome="left"}'] == 1 + ENGINES
    assert moved['stt_refusals_total{reason="foreign_protocol"}'] == 1
    assert moved['stt_refusals_total{reason="server_too_busy"}'] == 1
    assert moved['stt_refusals_total{reason="max_per_ip"}'] >= 1
    assert watched.event("refused", user="who is too many")["level"] == "info"


def is_closed(wire: Wire) -> bool:
    """Whether the server has closed or reset it, unread."""
    try:
        return wire.socket.recv(1) == b""
    except ConnectionError:
        return True


def test_an_engine_that_is_killed_is_counted_and_its_memory_is_told(watched: Watched) -> None:
    watched.wait_until_free()
    before = watched.figures()
    with Wire(watched.server.port) as wire:
        wire.start("victim")
        for pid in engine_pids(watched.server):
            kill(pid)
        assert error_code(wire.read_all()) == "ENGINE_FAILED"
    died = 'stt_engine_restarts_total{cause="died"}'
    wait_until(lambda: watched.figures().since(before).get(died) == ENGINES)
    watched.wait_until_free()
    now = watched.figures()
    assert now.since(before)['stt_sessions_total{outcome="engine_failed"}'] == 1
    for engine in range(ENGINES):
        rss, private = (
            now[f'stt_engine_memory_bytes{{engine="{engine}",kind="{kind}"}}'] for kind in ("rss", "private")
        )
        assert 1e6 < private < rss
    assert [name for name in now.values if 'stt_build_info{compute="' in name and 'model="base"' in name]
    assert {watched.event("engine_lost", engine=engine)["cause"] for engine in range(ENGINES)} == {"died"}


# --- health


def test_a_server_that_serves_is_ready_and_an_engine_recognises(watched: Watched) -> None:
    watched.wait_until_free()
    assert watched.answer("/healthz") == (200, "alive\n")
    assert watched.answer("/readyz") == (200, f"ready: {ENGINES} of {ENGINES} engines are free\n")
    assert watched.agent_says() == "ready up 100%\n"
    status, line = watched.answer("/healthz?deep=1", within_s=15)
    assert status == 200
    assert re.match(r"engine \d recognised 1\.0 s of built-in sound in \d+\.\d\d s .*; 0\.0 s ago\n", line)
    status, again = watched.answer("/healthz?deep=1")
    assert again.split(";")[0] == line.split(";")[0]


def test_a_server_whose_engines_are_in_use_lives_and_is_busy(watched: Watched) -> None:
    watched.wait_until_free()
    with ExitStack() as stack:
        stack.enter_context(Wire(watched.server.port)).start("one of two")
        assert watched.answer("/readyz") == (200, "ready: 1 of 2 engines are free\n")
        assert watched.agent_says() == "ready up 50%\n"
        stack.enter_context(Wire(watched.server.port)).start("two of two")
        assert watched.answer("/readyz") == (503, "busy: 2 of 2 engines are in use\n")
        assert watched.agent_says() == "ready up 1%\n"
        assert watched.answer("/healthz") == (200, "alive\n")


def test_frozen_engines_are_not_called_free_and_are_replaced(watched: Watched) -> None:
    watched.wait_until_free()
    pause(1.1)  # what an engine said just now is believed
    hung = engine_pids(watched.server)
    with frozen(*hung):
        assert watched.answer("/readyz") == (503, "hanging: 2 of 2 engines are idle and do not answer\n")
        assert watched.agent_says() == "ready up 0%\n"
        assert watched.answer("/healthz") == (200, "alive\n")
        wait_until(lambda: not set(hung) & set(engine_pids(watched.server)))
    wait_until(lambda: watched.answer("/readyz")[1].startswith("ready: 2 of 2"))


def test_one_frozen_engine_leaves_the_other_to_clients(watched: Watched) -> None:
    watched.wait_until_free()
    pause(1.1)
    with frozen(engine_pids(watched.server)[0]):
        assert watched.answer("/readyz") == (200, "ready: 1 of 2 engines are free\n")
        assert watched.agent_says() == "ready up 50%\n"
        with Wire(watched.server.port) as wire:
            wire.start("who is given the other one")
            wire.send(FINISH)
            assert wire.read_all() == [END]


def pause(seconds: float) -> None:
    """Until so much time has passed in which nothing is asked: any question would be a sign of life, or a check."""
    began_s = time.monotonic()
    wait_until(lambda: time.monotonic() - began_s > seconds)


def test_a_recogniser_that_hangs_fails_the_deep_check_and_is_replaced(watched: Watched) -> None:
    watched.wait_until_free()
    pause(INTERVAL_S)
    hung = engine_pids(watched.server)
    with frozen(*hung):
        status, line = watched.answer("/healthz?deep=1", within_s=HANG_TIMEOUT_S + SOON_S)
        assert status == 503
        assert "no answer for 6 s" in line
        wait_until(lambda: not set(hung) <= set(engine_pids(watched.server)))  # the other one was asked nothing
    wait_until(lambda: watched.answer("/readyz")[1].startswith("ready: 2 of 2"))
    pause(INTERVAL_S)
    assert watched.answer("/healthz?deep=1", within_s=15)[0] == 200


def test_a_client_that_comes_in_a_deep_check_gets_the_engine(watched: Watched, phrase: bytes) -> None:
    watched.wait_until_free()
    pause(INTERVAL_S)
    told: list[tuple[int, str]] = []
    checks_before = checks(watched)
    with Wire(watched.server.port) as holder, Wire(watched.server.port) as wire:
        holder.start("holder")
        with frozen(*engine_pids(watched.server)):
            checking = threading.Thread(target=lambda: told.append(ask(watched.port, "/healthz?deep=1")))
            checking.start()
            wait_until(lambda: checks(watched) > checks_before)
            wire.send(session_bytes(phrase))
            checking.join(SOON_S)
        packets = wire.read_all()
    assert told[0][0] == 200
    assert "a client came, and was given the engine" in told[0][1]
    assert "better" in results(packets)[0].lower()
    assert packets[-1] == END


def checks(watched: Watched) -> int:
    """How many have begun."""
    return sum("the deep check has engine" in line for line in list(watched.server.lines))


def test_a_server_tells_that_it_starts_and_that_it_drains() -> None:
    watched = Watched()
    try:
        wait_until(lambda: is_open(watched.port))
        assert watched.answer("/healthz") == (200, "alive\n")
        assert watched.answer("/readyz")[1].startswith("starting: ")
        assert watched.answer("/healthz?deep=1")[0] == 503
        assert watched.agent_says() == "ready up 0%\n"
        assert watched.figures()['stt_engines{state="starting"}'] == ENGINES
        with watched.server as server, Wire(server.port) as wire:
            wire.start("who is still served")
            server.process.send_signal(signal.SIGTERM)
            server.wait_for_line("stopping: ")
            wait_until(lambda: watched.agent_says() == "drain\n")
            assert watched.answer("/readyz") == (503, "draining: the server stops, and takes no new sessions\n")
            assert watched.answer("/healthz") == (200, "alive\n")
            wire.send(audio_packets(bytes(32000)) + FINISH)
            assert wire.read_all() == [END]
            assert server.wait() == 0
        assert not is_open(watched.port)
    finally:
        watched.server.close()


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_port_that_is_taken_ends_the_start_with_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        server = ServerProcess({"metrics": {"port": port}})
        try:
            assert server.wait() == 1
            (line,) = server.lines
            assert line.endswith(f"metrics: cannot listen on 127.0.0.1 port {port}: Address already in use")
        finally:
            server.close()
