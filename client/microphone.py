"""A microphone as a source of audio: sounddevice, where it is installed with PortAudio."""

import importlib
import queue
import threading
from contextlib import closing, contextmanager
from typing import Any, Iterator, Optional

from client.errors import MicrophoneError
from client.sources import ASSUMED_RATE, Source

_BLOCK_S = 0.03
_MOST_WAITING_S = 30.0  # of sound that the server has not taken yet
_LOOK_S = 0.1  # how often a stop is looked for
_LISTED = "python -m sounddevice lists what there is"


def open_microphone(device: str, sample_rate: Optional[int], stop: threading.Event) -> Source:
    """Sound of a device (its number or part of its name; empty: the system's choice) until `stop` is set.

    Raises MicrophoneError, its chunks too.
    """
    sounddevice = _library()
    rate = sample_rate or ASSUMED_RATE
    heard: queue.Queue[bytes] = queue.Queue(int(_MOST_WAITING_S / _BLOCK_S))
    full = threading.Event()

    def take(data: Any, *_: object) -> None:
        """In a thread of PortAudio."""
        try:
            heard.put_nowait(bytes(data))
        except queue.Full:
            full.set()

    try:
        stream = sounddevice.RawInputStream(
            samplerate=rate,
            blocksize=int(rate * _BLOCK_S),
            device=_named(device),
            channels=1,
            dtype="int16",
            callback=take,
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        raise MicrophoneError(f"the microphone cannot be opened at {rate} Hz: {error}; {_LISTED}") from error
    return Source(_chunks(stream, heard, full, stop), rate, None, None)


def _library() -> Any:
    try:
        return importlib.import_module("sounddevice")
    except ImportError:
        raise MicrophoneError("--mic needs the package sounddevice: pip install sounddevice") from None
    except OSError as error:
        raise MicrophoneError(
            f"--mic needs PortAudio: apt install libportaudio2, or as your system has it ({error})"
        ) from None


def _named(device: str) -> Any:
    if device.isdecimal():
        return int(device)
    return device or None


@contextmanager
def _started(stream: Any) -> Iterator[None]:
    try:
        stream.start()
    except Exception as error:  # of a library that is not imported here
        raise MicrophoneError(f"the microphone does not start: {error}; {_LISTED}") from error
    with closing(stream):
        yield


def _chunks(stream: Any, heard: "queue.Queue[bytes]", full: threading.Event, stop: threading.Event) -> Iterator[bytes]:
    with _started(stream):
        while not stop.is_set():
            try:
                yield heard.get(timeout=_LOOK_S)
            except queue.Empty:
                if not stream.active:
                    raise MicrophoneError(f"the microphone gives nothing more; {_LISTED}") from None
            if full.is_set():
                raise MicrophoneError(f"the server is more than {_MOST_WAITING_S:g} s behind the microphone")
    while not heard.empty():
        yield heard.get()
