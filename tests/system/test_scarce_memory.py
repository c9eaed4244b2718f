"""An engine that finds no memory: one utterance takes longer or fails, and nobody else notices."""

import os
from pathlib import Path
from typing import Iterator

import pytest

from tests.harness.engines import assert_serves, engine_pids, wait_until_all_sleep
from tests.harness.server import PROJECT, ServerProcess
from tests.harness.wire import END, FINISH, Wire, audio_packets, error_code, results

# Run by Python itself in what engines are forked from: the first recognition that finds a file in the folder fails for
# it; where the file is named "engine", each later one in the same process does so too.
SCARCE = """
import os
from pathlib import Path

if "STT_ENGINE_MODEL" in os.environ and "SCARCE" in os.environ:
    import torch
    from recognizer.recognizer import Recognizer

    recognize = Recognizer.recognize

    def scarce(self, samples, request, *rest):
        folder = Path(os.environ["SCARCE"])
        taken = folder / str(os.getpid())
        if (folder / "once").exists():
            (folder / "once").unlink()
        elif (folder / "engine").exists():
            (folder / "engine").rename(taken)
        elif not taken.exists():
            return recognize(self, samples, request, *rest)
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    Recognizer.recognize = scarce
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scarce")


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    path = tmp_path_factory.mktemp("site")
    (path / "sitecustomize.py").write_text(SCARCE)
    environment = {**os.environ, "PYTHONPATH": f"{path}:{PROJECT}", "SCARCE": str(folder)}
    with ServerProcess({"model": {"language": "en", "channel": 2}}, environment) as process:
        yield process


def test_an_utterance_is_tried_once_more_and_the_engine_goes_on(
    server: ServerProcess, folder: Path, phrase: bytes
) -> None:
    wait_until_all_sleep(server)
    before = engine_pids(server)
    (folder / "once").touch()
    assert_serves(server, phrase)
    assert not list(folder.iterdir())
    server.wait_for_line("there is no memory on cpu (for an utterance|to work ahead)")
    assert engine_pids(server) == before


def test_where_that_fails_too_one_client_is_told_and_the_engine_that_ends_names_itself(
    server: ServerProcess, folder: Path, phrase: bytes
) -> None:
    wait_until_all_sleep(server)
    with Wire(server.port) as victim, Wire(server.port) as other:
        other.start("other")
        victim.start("victim")
        engine = server.wait_for_line(r"starts: engine (\d), user victim").group(1)
        (folder / "engine").touch()
        victim.send(audio_packets(phrase) + FINISH)
        assert error_code(victim.read_all()) == "ENGINE_FAILED"
        assert not (folder / "engine").exists()
        server.wait_for_line(rf"engine-{engine}.*there is no memory left for a recognition: the engine ends")
        other.send(audio_packets(phrase) + FINISH)
        packets = other.read_all()
        assert "better" in results(packets)[0].lower()
        assert packets[-1] == END
    wait_until_all_sleep(server)
    assert_serves(server, phrase)
