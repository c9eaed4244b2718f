"""A client to import (`StreamingClient`) and to run (`python tcp_client.py --help`).

`StreamingClient` needs this file, `util.py`, the folders `client/` and `protocol/`, and Python's standard library:

    with StreamingClient("localhost", 5000, user="kiosk-7") as client:
        client.send(pcm)
        client.finish()
        for result in client.results():
            print(result.start_s, result.end_s, result.text)

Where the server has a certificate, `tls=ssl.create_default_context()` goes with the address; what is asked for the
session (language, live text, …) with `options=SessionOptions(…)`.
What can go wrong is the tree of errors in `client/errors.py`; `ClientError` is its root.
"""

import argparse
import os
import signal
import ssl
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Iterator, List, Optional, Sequence, Tuple

from client.arguments import parse, session_options
from client.audio_files import Recording, read_audio
from client.errors import (
    AudioFileError,
    ClientError,
    ConnectError,
    ConnectionLost,
    MicrophoneError,
    OutputError,
    ServerError,
    StrangeServer,
    WelcomeTimeout,
)
from client.formats import Format
from client.microphone import open_microphone
from client.output import Files, format_of
from client.session import SessionEvent, StreamingClient, reason
from client.sources import Source, open_recording
from client.terminal import Screen, explain, screen, show_what_the_terminal_can
from protocol.data import Partial, SessionOptions, SpeechStarted, SpeechStopped, UtteranceDone
from protocol.packets import printable
from util import Result

__all__ = [
    "AudioFileError",
    "ClientError",
    "ConnectError",
    "ConnectionLost",
    "MicrophoneError",
    "OutputError",
    "Partial",
    "Recording",
    "Result",
    "ServerError",
    "SessionEvent",
    "SessionOptions",
    "SpeechStarted",
    "SpeechStopped",
    "StrangeServer",
    "StreamingClient",
    "UtteranceDone",
    "WelcomeTimeout",
    "read_audio",
]

_PACKET_S = 0.03  # of audio in one packet when pacing like a microphone

EXIT_OK = 0
EXIT_FAILED = 1
# 128 + SIGINT or SIGPIPE, as of a command that the signal ended
EXIT_INTERRUPTED = 130
EXIT_UNREAD = 141


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command; returns the exit status."""
    options = parse(arguments)
    show_what_the_terminal_can()
    try:
        if options.status:
            for line in _client(options, SessionOptions()).status():
                print(printable(line))
        elif options.mic is not None:
            _stream_microphone(options)
        else:
            return _stream_recordings(options)
    except ClientError as error:
        _complain(explain(error))
        return EXIT_FAILED
    except KeyboardInterrupt:
        _complain("interrupted; the session is over")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read the results has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still has to write
        return EXIT_UNREAD
    return EXIT_OK


def _complain(line: str) -> None:
    print(f"tcp_client: {line}", file=sys.stderr)


# --- connecting


def _client(options: argparse.Namespace, asked: SessionOptions) -> StreamingClient:
    return StreamingClient(
        options.ip, options.port, options.user, tls=_tls(options), welcome_timeout_s=options.wait, options=asked
    )


def _tls(options: argparse.Namespace) -> Optional[ssl.SSLContext]:
    if not options.tls:
        return None
    path = options.ca
    try:
        context = ssl.create_default_context(cafile=options.ca)
        path = options.cert
        if options.cert:
            context.load_cert_chain(options.cert, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConnectError(f"{path}: {reason(error)}; expected PEM") from error
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted, and there may be nobody to ask")


# --- recordings and the microphone


def _stream_recordings(options: argparse.Namespace) -> int:
    """One session after the other; returns the exit status. A file that is at fault does not keep the others back."""
    status = EXIT_OK
    waiting: List[Tuple[Path, Optional[Path]]] = list(zip(options.ifn, options.places))
    with Files() as files:
        while waiting:
            recording, place = waiting.pop(0)
            is_one_of_several = options.places.count(place) > 1
            try:
                source = open_recording(recording, options.rate, options.encoding)
                _stream(
                    options, source, _Results(format_of(options.format, recording, is_one_of_several), files, place)
                )
            except AudioFileError as error:
                _complain(explain(error))
                status = EXIT_FAILED
            except ClientError as error:
                unsent = f"; not sent: {', '.join(printable(str(path)) for path, _ in waiting)}" if waiting else ""
                _complain(explain(error) + unsent)
                return EXIT_FAILED
    return status


def _stream_microphone(options: argparse.Namespace) -> None:
    stop = threading.Event()
    source = open_microphone(options.mic, options.rate, stop)
    with Files() as files, _interrupt_sets(stop):
        if sys.stderr.isatty():
            print("tcp_client: speak; Ctrl-C ends it", file=sys.stderr)
        _stream(options, source, _Results(format_of(options.format, None, False), files, options.places[0]))


@contextmanager
def _interrupt_sets(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C ends the audio; what was said is still recognised, unless there is another."""

    def end(_: int, __: Optional[FrameType]) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Results:
    """Of one session, in their format, on their way to stdout or a file."""

    def __init__(self, form: Format, files: Files, place: Optional[Path]) -> None:
        self._form = form
        self._files = files
        self._place = place

    def begin(self, shown: Screen) -> None:
        """There is an engine: what was in the file before is gone from here on."""
        self._write(self._form.begin(), shown)

    def take(self, event: SessionEvent, shown: Screen) -> None:
        """Show or write it."""
        if isinstance(event, Result):
            self._write(self._form.result(event), shown)
        elif isinstance(event, Partial):
            line = self._form.partial(event)
            if line:
                self._write(line, shown)
            shown.show_live(event)

    def _write(self, text: str, shown: Screen) -> None:
        if self._place is None:
            shown.show(text)
        else:
            self._files.write(self._place, text)
            shown.show("")  # in place of live text


def _stream(options: argparse.Namespace, source: Source, results: _Results) -> None:
    """One session. What the source has had before it broke off is sent, and its error raised at the end."""
    asked = session_options(options, source.sample_rate, source.encoding)
    is_live = options.partial and (options.format != "json" or options.output is not None)
    with _client(options, asked) as client, screen(source.duration_s, is_live) as shown:
        results.begin(shown)
        sender = _Sender(client, source, options.realtime, shown)
        for event in client.events():
            results.take(event, shown)
        sender.join()


class _Sender:
    """A thread that sends a source, and ends the session."""

    def __init__(self, client: StreamingClient, source: Source, at_pace: bool, shown: Screen) -> None:
        self._client = client
        self._source = source
        self._at_pace = at_pace
        self._shown = shown
        self._fault: Optional[ClientError] = None  # of the source
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Raises what was wrong with the source."""
        self._thread.join()
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        """An error of the session is for `events` to raise: it knows the server's reason."""
        with suppress(ConnectionLost, ServerError):
            try:
                for packet in self._packets():
                    self._client.send(packet)
                    self._shown.advance(len(packet) / self._source.bytes_per_second)
            except (AudioFileError, MicrophoneError) as error:
                self._fault = error
            self._client.finish()

    def _packets(self) -> Iterator[bytes]:
        if not self._at_pace:
            yield from self._source.chunks
            return
        bytes_per_second = self._source.bytes_per_second
        packet_bytes = 2 * (int(bytes_per_second * _PACKET_S) // 2)
        started_s, sent_bytes = time.monotonic(), 0
        for chunk in self._source.chunks:
            for offset in range(0, len(chunk), packet_bytes):
                packet = chunk[offset : offset + packet_bytes]
                sent_bytes += len(packet)
                _sleep_until(started_s + sent_bytes / bytes_per_second)
                yield packet


def _sleep_until(moment_s: float) -> None:
    threading.Event().wait(max(0.0, moment_s - time.monotonic()))


if __name__ == "__main__":
    sys.exit(main())
