"""`python -m bench.archive`: recordings sent one after the other, each in a session of its own, as fast as they go.

In turns with the recogniser alone, which gets the same segments in this process; so what a session costs beside
recognition shows. A server also hears the sound before an utterance again where that helps, which the recogniser is not
asked for; one with `model.context: off` does not, so like is compared with like. Another version of the server, started
from its own folder, is measured with --host and --port, in the same run and in the same turns.
"""

import argparse
import os
import time
from contextlib import ExitStack
from typing import Dict, List

from bench import command
from bench.archive.rows import COLUMNS, Row
from bench.recordings import read_spoken
from bench.report import Report, table
from bench.serving import Recognise, own, through
from bench.speech import error_rate, segments
from engine.cores import usable_cores
from recognizer.audio import SAMPLE_RATE
from recognizer.recognizer import Recognizer
from recognizer.request import Request
from recognizer.settings import RecognizerSettings

LANGUAGE = "ko"


def main() -> None:
    """Measure, and print the table."""
    # A thread that waits for work sleeps, as in an engine; torch reads it when it is first used. (GNU OpenMP's manual)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    options = _parse()
    chosen = read_spoken(options.speech, LANGUAGE)[:: options.every]
    seconds: Dict[str, float] = {}
    texts: Dict[str, List[str]] = {}
    with ExitStack() as stack:
        ways = {
            "a server": _own(stack),
            "a server, context: off": _own(stack, context="off"),
            "the recogniser alone": _alone(),
        }
        if options.host:
            ways["another server"] = through(options.host, options.port)
        for way in ways.values():
            way(chosen[0].pcm)  # not counted
        for recording in chosen:
            for name, way in ways.items():
                began_s = time.perf_counter()
                texts.setdefault(name, []).append(way(recording.pcm))
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began_s
    audio_s = sum(len(one.pcm) for one in chosen) / (2 * SAMPLE_RATE)
    references = [one.references for one in chosen]
    rows = [Row(name, audio_s / seconds[name], error_rate(references, texts[name], LANGUAGE)) for name in ways]
    conditions = f"{len(chosen)} Korean recordings, {audio_s:.0f} s, in turns in one run, {usable_cores()} cores"
    print(table(conditions, COLUMNS, rows))
    if options.json:
        Report({"conditions": conditions}, rows).write(options.json)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="take one recording of so many (default: all)")
    parser.add_argument("--host", help="another server, that runs already")
    parser.add_argument("--port", type=int)
    options = command.parse(parser)
    if (options.host is None) != (options.port is None):
        parser.error("--host and --port go together")
    return options


def _own(stack: ExitStack, **model: str) -> Recognise:
    """Through a server that ends with the `stack`."""
    server = stack.enter_context(own(1, language=LANGUAGE, **model))
    return through("127.0.0.1", server.port)


def _alone() -> Recognise:
    recognizer = Recognizer(RecognizerSettings(device="cpu"), threads=usable_cores())

    def recognise(pcm: bytes) -> str:
        return " ".join(
            filter(None, (recognizer.recognize(samples, Request(LANGUAGE)).text for samples in segments(pcm)))
        )

    return recognise


if __name__ == "__main__":
    main()
