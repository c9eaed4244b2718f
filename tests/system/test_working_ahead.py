"""An utterance is recognised before it has ended, and nobody can tell from the text."""

import threading
import time
from typing import Iterator, List, Optional

import pytest

from tcp_client import SessionOptions, StreamingClient
from tests.harness.server import ServerProcess, Settings
from tests.harness.wire import Wire, audio_packets, results, session_bytes

PACKET_MS = 30
PACKET_BYTES = 960
BREATH = bytes(10 * PACKET_BYTES)  # long enough to work ahead, too short to end an utterance
CLIENTS = 3
LIVE_TEXT = SessionOptions(partial=True)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    settings: Settings = {"model": {"language": "en", "channel": CLIENTS}, "logging": {"level": "debug"}}
    with ServerProcess(settings) as process:
        yield process


@pytest.fixture(scope="module")
def talk(phrase: bytes) -> bytes:
    """Two utterances, the second one with a breath in it, and a silence that ends it."""
    return phrase[: len(phrase) // 2] + BREATH + phrase


def at_once(port: int, pcm: bytes) -> List[str]:
    with Wire(port) as wire:
        wire.send(session_bytes(pcm))
        return results(wire.read_all())


def as_spoken(port: int, pcm: bytes, options: Optional[SessionOptions] = None) -> List[str]:
    """The results of a client that sends no faster than people speak."""
    began_s = time.monotonic()
    with StreamingClient("127.0.0.1", port, options=options) as client:
        for number, offset in enumerate(range(0, len(pcm), PACKET_BYTES), start=1):
            client.send(pcm[offset : offset + PACKET_BYTES])
            time.sleep(max(0.0, began_s + number * PACKET_MS / 1000 - time.monotonic()))
        client.finish()
        return [f"{result.start_s:.1f} {result.end_s:.1f} : {result.text}" for result in client.results()]


def test_the_results_are_the_same_at_once_as_spoken_and_with_neighbours(server: ServerProcess, talk: bytes) -> None:
    expected = at_once(server.port, talk)
    assert expected

    assert as_spoken(server.port, talk) == expected
    assert server.wait_for_line("begun before its end")

    found: List[List[str]] = []
    clients = [
        threading.Thread(
            target=lambda wish: found.append(as_spoken(server.port, talk, wish)), args=(wish,), daemon=True
        )
        for wish in (None, LIVE_TEXT, LIVE_TEXT)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert found == [expected] * CLIENTS


def test_what_was_recognised_for_a_client_that_left_reaches_nobody(server: ServerProcess, phrase: bytes) -> None:
    expected = at_once(server.port, phrase)
    spoken = phrase.rstrip(b"\0")
    for _ in range(3):
        for _ in range(CLIENTS):
            with Wire(server.port) as wire:
                wire.start()
                wire.send(audio_packets(spoken + BREATH))
                wire.reset()
        assert at_once(server.port, bytes(len(phrase))) == []
        assert at_once(server.port, phrase) == expected
