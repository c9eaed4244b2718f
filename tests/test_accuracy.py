"""Real recordings with transcripts, through the whole server. `SPEECH_DIR` names their folder."""

import re
import unicodedata
import wave
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Dict, List

import jiwer
import pytest

from demo.server import ServerProcess
from tcp_client import StreamingClient
from tests.conftest import Reference

CHANNELS = 2
EVERY = 2  # of the recordings is tested
# `base` at beam 5, with room for the choice of recordings.
LIMITS: Dict[str, float] = {"ko": 0.22, "en": 0.10}
METRICS: Dict[str, Callable[[List[str], List[str]], float]] = {
    "ko": lambda references, found: float(jiwer.cer(references, found)),
    "en": lambda references, found: float(jiwer.wer(references, found)),
}


def normal(text: str, language: str) -> str:
    """Letters and digits only; Korean without spaces, as its spelling leaves them free."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = re.sub(r"[^\w ]", "" if language == "ko" else " ", text.replace("'", ""))
    return "".join(text.split()) if language == "ko" else " ".join(text.split())


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
    metric = METRICS[language]
    pairs = []
    for reference, text in zip(chosen, found):
        hypothesis = normal(text, language)
        spellings = [normal(text, language) for text in reference.texts]
        pairs.append((min(spellings, key=lambda spelling: metric([spelling], [hypothesis])), hypothesis))
    error_rate = metric([spelling for spelling, _ in pairs], [hypothesis for _, hypothesis in pairs])
    print(f"{language}: {len(chosen)} recordings, error rate {100 * error_rate:.1f} %")
    assert error_rate <= LIMITS[language]
