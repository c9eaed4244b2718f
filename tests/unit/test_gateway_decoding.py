"""Uploaded media files as blocks of PCM."""

from __future__ import annotations

import asyncio
import io
import threading
from pathlib import Path
from typing import Any, BinaryIO, List

import av
import numpy as np
import pytest

from client.sources import open_recording
from demo.recording import recording_pcm
from gateway.decoding import decoded
from gateway.errors import BadRequest
from gateway.threads import Threads
from tests.harness.media import KINDS, RATE, write


@pytest.fixture(scope="module")
def threads() -> Threads:
    return Threads(2, "test")


def made(folder: Path, name: str) -> Path:
    return write(folder / name, np.frombuffer(recording_pcm(), dtype="<i2"))


def blocks_of(file: BinaryIO, threads: Threads) -> List[bytes]:
    async def collect() -> List[bytes]:
        return [block async for block in decoded(file, "x", threads)]

    return asyncio.run(collect())


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_any_kind_is_heard_as_the_client_command_hears_it(
    name: str, tmp_path: Path, threads: Threads
) -> None:
    path = made(tmp_path, name)
    with path.open("rb") as file:
        blocks = blocks_of(file, threads)
    assert b"".join(blocks) == b"".join(open_recording(path, None, None).chunks)
    assert max(len(block) for block in blocks) < 4 * RATE


def test_of_a_film_with_pictures_the_sound_is_heard(tmp_path: Path, threads: Threads) -> None:
    sound: Any = av.open(str(made(tmp_path, "film.mp4")))
    film: Any = av.open(str(tmp_path / "pictures.mp4"), "w")
    pictures = film.add_stream("mpeg4", rate=10, width=64, height=64, pix_fmt="yuv420p")
    track = film.add_stream("aac", rate=48_000)
    track.codec_context.layout = "mono"
    for _ in range(100):
        film.mux(pictures.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
    for frame in sound.decode(audio=0):
        film.mux(track.encode(frame))
    for stream in (pictures, track):
        film.mux(stream.encode(None))
    film.close()
    sound.close()
    heard = b"".join(blocks_of(io.BytesIO((tmp_path / "pictures.mp4").read_bytes()), threads))
    assert len(heard) == pytest.approx(len(recording_pcm()), abs=0.2 * RATE)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "x: the file is empty"),
        (b"not a recording at all\n" * 100, "x: no audio or video, and FFmpeg cannot read it"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n", "x: no audio or"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "x: no audio or"),
        (b"OggS\x00" + bytes(200), "x: "),
    ],
)
def test_what_is_no_recording_is_refused_with_its_parameter(content: bytes, fault: str, threads: Threads) -> None:
    with pytest.raises(BadRequest) as caught:
        blocks_of(io.BytesIO(content), threads)
    assert caught.value.param == "file"
    assert str(caught.value).startswith(fault)


def test_of_a_damaged_file_what_can_be_decoded_is_heard(tmp_path: Path, threads: Threads) -> None:
    content = made(tmp_path, "speech.m4a").read_bytes()
    torn = bytearray(content)
    torn[len(torn) // 2 : len(torn) // 2 + 6000] = b"\xff" * 6000
    heard = b"".join(blocks_of(io.BytesIO(bytes(torn)), threads))
    assert len(heard) == pytest.approx(len(recording_pcm()), abs=4 * RATE)


def test_an_upload_that_was_cut_off_is_heard_as_far_as_it_goes(tmp_path: Path, threads: Threads) -> None:
    content = made(tmp_path, "speech.mp3").read_bytes()
    heard = b"".join(blocks_of(io.BytesIO(content[: len(content) // 2]), threads))
    assert len(heard) == pytest.approx(len(recording_pcm()) / 2, abs=2 * RATE)


class Watched(io.BytesIO):
    """Knows how much of it was read, and whether that was on this thread."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.read_bytes = 0
        self.readers: set[int] = set()

    def read(self, size: Any = -1) -> bytes:
        data = super().read(size)
        self.read_bytes += len(data)
        self.readers.add(threading.get_ident())
        return data


def test_no_more_is_decoded_than_is_taken_and_nothing_on_the_loops_thread(tmp_path: Path, threads: Threads) -> None:
    content = made(tmp_path, "speech.mp3").read_bytes() * 60
    file = Watched(content)

    async def take_one() -> None:
        blocks = decoded(file, "x", threads)
        assert len(await blocks.__anext__()) >= RATE
        await blocks.aclose()

    asyncio.run(take_one())
    assert file.read_bytes < len(content) / 4
    assert threading.get_ident() not in file.readers


def test_who_is_cancelled_leaves_a_file_that_nobody_reads(tmp_path: Path, threads: Threads) -> None:
    """Also when a thread is reading it at that moment."""
    reading, go_on = threading.Event(), threading.Event()

    class Slow(Watched):
        def read(self, size: Any = -1) -> bytes:
            reading.set()
            go_on.wait(30)
            return super().read(size)

    file = Slow(made(tmp_path, "speech.mp3").read_bytes())

    async def cancelled() -> None:
        blocks = decoded(file, "x", threads)
        taking = asyncio.ensure_future(blocks.__anext__())
        await asyncio.get_running_loop().run_in_executor(None, reading.wait, 30)
        taking.cancel()
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        with pytest.raises(asyncio.CancelledError):
            await taking
        assert go_on.is_set()
        file.close()

    asyncio.run(cancelled())


def test_a_file_of_nothing_but_damage_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one thread that there is has time for others meanwhile."""
    monkeypatch.setattr("gateway.decoding._TURN_S", 0.0)
    only = Threads(1, "test")
    frame = bytes.fromhex("fff15040021ffc") + b"\xe0" * 9  # of AAC as ADTS, without what is announced

    async def main() -> None:
        blocks = decoded(io.BytesIO(frame * 1000), "x", only)
        decoding = asyncio.ensure_future(blocks.__anext__())
        for _ in range(10):
            await only.run(list)
        assert not decoding.done()
        with pytest.raises(BadRequest):
            await decoding

    asyncio.run(main())
