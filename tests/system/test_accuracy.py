"""Real recordings with transcripts, through the whole server. `SPEECH_DIR` names their folder."""

import wave
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, List

import pytest

from bench.speech import error_rate
from tcp_client import StreamingClient
from tests.conftest import Reference
from tests.harness.server import ServerProcess

CHANNELS = 2
EVERY = 3  # of the recordings is tested
# `base` at beam 5, with room for the choice of recordings.
LIMITS: Dict[str, float] = {"ko": 0.18, "en": 0.20}


def recognise(port: int, reference: Reference) -> str:
    with wave.open(str(reference.path), "rb") as file:
        pcm = file.readframes(file.getnframes())
    with StreamingClient("127.0.0.1", port) as client:
        client.send(pcm)
        client.finish()
        return " ".join(result.text for result in client.results())


@pytest.mark.parametrize("language", ["ko", "en"])
def test_recordings_are_recognised(references: List[Reference], language: str) -> None:
    chosen = [reference for reference in references if reference.language == language][::EVERY]
    settings = {"model": {"language": language, "channel": CHANNELS}}
    with ServerProcess(settings) as server, ThreadPoolExecutor(CHANNELS) as clients:
        found = list(clients.map(lambda reference: recognise(server.port, reference), chosen))
    rate = error_rate([reference.texts for reference in chosen], found, language)
    print(f"{language}: {len(chosen)} recordings, error rate {100 * rate:.1f} %")
    assert rate <= LIMITS[language]
