"""The command's options."""

import argparse
import threading
from contextlib import suppress
from pathlib import Path
from typing import Optional, Sequence

from client.audio_files import A_LAW, HIGHEST_RATE, LOWEST_RATE, MU_LAW, PCM
from client.formats import FORMATS
from client.output import NAME, places
from client.session import WELCOME_TIMEOUT_S
from protocol.data import SessionOptions

_TELEPHONE_RATE = 8000  # Hz of G.711


def parse(arguments: Optional[Sequence[str]]) -> argparse.Namespace:
    """Options as given; `rate` is of raw audio, None the server's; `places` is where each recording's text goes."""
    parser = argparse.ArgumentParser(description="Stream recordings or a microphone to the speech-to-text server.")
    _add_server(parser)
    _add_audio(parser)
    _add_results(parser)
    options = parser.parse_args(arguments)
    if (options.ca or options.cert) and not options.tls:
        parser.error("--ca and --cert need --tls")
    if options.rate is None and options.encoding in (MU_LAW, A_LAW):
        options.rate = _TELEPHONE_RATE
    try:
        options.places = places(options.ifn or [Path("microphone")], options.format, options.output)
    except ValueError as error:
        parser.error(str(error))
    return options


def _add_server(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the server").add_argument
    add("--ip", default="localhost", help="name or address (default: %(default)s)")
    add("--port", type=_port, default=5000, help="port (default: %(default)s)")
    add("--user", default="tcp_client", help="user id for the server's log (default: %(default)s)")
    add(
        "--wait",
        type=_seconds,
        default=WELCOME_TIMEOUT_S,
        metavar="SECONDS",
        help="for an engine; more than the server's network.engine_wait (default: %(default)g)",
    )
    add("--tls", action="store_true", help="encrypt; the server's certificate must be good for --ip")
    add("--ca", type=Path, metavar="FILE", help="PEM: trust these authorities, not the system's")
    add("--cert", type=Path, metavar="FILE", help="PEM: your own certificate with its key")


def _add_audio(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is sent")
    what = group.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--ifn",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="recordings: .wav, raw mono audio, and with PyAV (pip install av) MP3, M4A, Opus, FLAC, WebM and others",
    )
    what.add_argument(
        "--mic",
        nargs="?",
        const="",
        metavar="DEVICE",
        help="the microphone, with sounddevice (pip install sounddevice); Ctrl-C ends it",
    )
    what.add_argument("--status", action="store_true", help="print what each engine does")
    add = group.add_argument
    add(
        "--rate",
        type=_rate,
        metavar="HZ",
        help=f"of raw audio and of the microphone, {LOWEST_RATE} to {HIGHEST_RATE} "
        "(default: the server's audio.sample_rate; 8000 for G.711; 16000 for the microphone)",
    )
    add("--encoding", choices=(PCM, MU_LAW, A_LAW), help=f"of raw audio: 16 bits, or G.711 (default: {PCM})")
    add("--realtime", action="store_true", help="send recordings at the pace of a microphone")


def _add_results(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what comes back").add_argument
    add("--lang", metavar="CODE", help="language that is spoken, or auto (default: the server's model.language)")
    add("--task", choices=("transcribe", "translate"), help="translate: into English")
    add("--prompt", metavar="TEXT", help="names and jargon that are likely to be said")
    add("--silence-ms", type=int, metavar="MS", help="closing silence that ends an utterance, 100 to 5000")
    add("--partial", action="store_true", help="show text while it is spoken: on a terminal, or as json")
    add("--format", choices=FORMATS, default="text", help="of the results (default: %(default)s)")
    add(
        "--output",
        metavar="FILE",
        help=f"for the results in place of stdout; a folder, or a name with {NAME}, has a file for each recording",
    )


def session_options(options: argparse.Namespace, sample_rate: Optional[int], encoding: Optional[str]) -> SessionOptions:
    """What is asked for a session with audio of that form."""
    return SessionOptions(
        language=options.lang,
        task=options.task,
        prompt=options.prompt,
        sample_rate=sample_rate,
        encoding=encoding,
        silence_ms=options.silence_ms,
        partial=options.partial or None,
        detail=options.format != "text" or None,
    )


def _port(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a port from 1 to 65535")
    return int(text)


def _rate(text: str) -> int:
    if not (text.isdecimal() and LOWEST_RATE <= int(text) <= HIGHEST_RATE):
        raise argparse.ArgumentTypeError(f"got {text!r}; expected {LOWEST_RATE} to {HIGHEST_RATE} Hz")
    return int(text)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < (seconds := float(text)) < threading.TIMEOUT_MAX:
            return seconds
    raise argparse.ArgumentTypeError(f"got {text!r}; expected a number of seconds above 0")
