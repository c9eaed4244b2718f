import csv
import os
from pathlib import Path
from typing import Iterator, List, NamedTuple

import pytest

from demo.recording import recording_pcm
from tests.harness.server import ServerProcess


@pytest.fixture(scope="session")
def speech() -> bytes:
    """Ten seconds of English, two utterances: 16 kHz mono 16-bit PCM."""
    return recording_pcm()


@pytest.fixture(scope="session")
def phrase(speech: bytes) -> bytes:
    """The second utterance alone, "Fail again. Fail better.", with silence around it."""
    return bytes(16000) + speech[int(6.5 * 32000) :] + bytes(32000)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """A server with one engine. Each test leaves the engine free."""
    with ServerProcess({"model": {"language": "en"}}) as process:
        yield process


class Reference(NamedTuple):
    """A recording and what is said in it."""

    path: Path
    language: str
    texts: List[str]


@pytest.fixture(scope="session")
def references() -> List[Reference]:
    """The recordings with transcripts that SPEECH_DIR holds; the test is skipped without it."""
    folder = os.environ.get("SPEECH_DIR")
    if not folder:
        pytest.skip("SPEECH_DIR names no folder of recordings with transcripts")
    with open(Path(folder) / "manifest.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [
        Reference(
            Path(folder) / row["path"],
            row["language"],
            [text for text in (row["reference"], row["alt_reference"]) if text],
        )
        for row in rows
    ]
