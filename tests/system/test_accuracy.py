"""Real recordings with transcripts, through the whole server. `SPEECH_DIR` names their folder."""

from concurrent.futures import ThreadPoolExecutor
from typing import Dict, List

import pytest

from bench.recordings import Recording
from bench.speech import error_rate
from tcp_client import StreamingClient
from tests.harness.server import ServerProcess

CHANNELS = 2
EVERY = 3  # of the recordings is tested
# `base` at beam 5, with room for the choice of recordings.
LIMITS: Dict[str, float] = {"ko": 0.18, "en": 0.20}


def recognise(port: int, recording: Recording) -> str:
    with StreamingClient("127.0.0.1", port) as client:
        client.send(recording.pcm)
        client.finish()
        return " ".join(result.text for result in client.results())


@pytest.mark.parametrize("language", ["ko", "en"])
def test_recordings_are_recognised(recordings: List[Recording], language: str) -> None:
    chosen = [recording for recording in recordings if recording.language == language][::EVERY]
    settings = {"model": {"language": language, "channel": CHANNELS}}
    with ServerProcess(settings) as server, ThreadPoolExecutor(CHANNELS) as clients:
        found = list(clients.map(lambda recording: recognise(server.port, recording), chosen))
    rate = error_rate([recording.references for recording in chosen], found, language)
    print(f"{language}: {len(chosen)} recordings, error rate {100 * rate:.1f} %")
    assert rate <= LIMITS[language]
