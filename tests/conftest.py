import os
from pathlib import Path
from typing import Iterator, List

import pytest

from bench.recordings import Recording, read_recordings
from demo.recording import recording_pcm
from recognizer.audio import SAMPLE_RATE, Samples, to_samples
from tests.harness.gateway import GatewayProcess
from tests.harness.server import ServerProcess

# Files of minutes, which are not to begin when all others are done.
_LONG = ("test_static_recognizer.py", "test_static.py", "test_decoder.py")


def pytest_collection_modifyitems(items: List[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in _LONG)


@pytest.fixture(scope="session")
def speech() -> bytes:
    """Ten seconds of English, two utterances: 16 kHz mono 16-bit PCM."""
    return recording_pcm()


@pytest.fixture(scope="session")
def samples(speech: bytes) -> Samples:
    """Five seconds and a half: "Ever tried. Ever failed. No matter. Try again."."""
    return to_samples(speech, SAMPLE_RATE)[: int(5.5 * SAMPLE_RATE)]


@pytest.fixture(scope="session")
def phrase(speech: bytes) -> bytes:
    """The second utterance alone, "Fail again. Fail better.", with silence around it."""
    return bytes(16000) + speech[int(6.5 * 32000) :] + bytes(32000)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """A server with one engine. Each test leaves the engine free."""
    with ServerProcess({"model": {"language": "en"}}) as process:
        yield process


@pytest.fixture(scope="module")
def gateway(server: ServerProcess) -> Iterator[GatewayProcess]:
    """A gateway before that server."""
    with GatewayProcess([server.port]) as process:
        yield process


@pytest.fixture(scope="session")
def recordings() -> List[Recording]:
    """The recordings with transcripts that SPEECH_DIR holds; the test is skipped without it."""
    folder = os.environ.get("SPEECH_DIR")
    if not folder:
        pytest.skip("SPEECH_DIR names no folder of recordings with transcripts")
    return read_recordings(Path(folder))
