"""`python -m bench.live`: how soon a server shows what is said, and whether it stays, a table and a chart.

Clients stream recordings at the pace of a microphone, as in `bench.load`, one session each, with silence between the
recordings. They ask for live text, events and details, and keep every packet with its arrival. In turns with that, in
the same run, the same clients send the same bytes without asking for live text: results must be the same and come as
soon. The turns are with, without, without, with, so that a machine whose speed drifts harms both alike. What counts of
each turn is the time in which all clients speak, as in `bench.load`; utterances that ended within it, with all words.

A word is what blanks separate in the text of a result. Where its sound ends is said by openai-whisper's own alignment
of that text (`whisper.timing.find_alignment`, float32, window of 30 s), after the turns of a row, so that it takes
nothing from the server; it ends in real time when the packet with its last sample was sent. From there latencies count.
How shown text is held against the final one: `bench.live.compare`. A word that was never stable, or never shown, before
the result counts with the result's own arrival.

Coverage and retraction count tokens: words, in Korean syllables. Both come from the alignment with the fewest edits
and not from the longest common subsequence, which finds something common in any two texts, most of all in syllables.
Stable text of an utterance that brought no result is retracted.
"""

import argparse
import gc
import json
import signal
import sys
from typing import List, Optional, Sequence, TextIO, Tuple

from bench import command, serving
from bench.live.figures import Judged, Turn, summed_up
from bench.live.rows import COLUMNS, Row
from bench.live.words import Aligner
from bench.load import plan
from bench.load.clients import LiveClient, converse, timetable
from bench.load.plan import Stream
from bench.load.usage import UsageWatch
from bench.recordings import Recording, read_spoken
from bench.report import Report, line, table
from bench.serving import Address
from engine.cores import usable_cores
from protocol.data import SessionOptions

Voice = Tuple[Stream, float]  # what a client sends, and when it begins: seconds after the first one may

_ORDER = (True, False, False, True)  # of the turns of a row: with live text or without; as many of both
_MOST_CLIENTS = 1000  # apart from which the chances of a client in two turns are


def main() -> None:
    """Measure each language with each number of clients, print a row for each, draw the chart where one is wanted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that our server ends with us
    gc.disable()  # its pauses would make packets late
    options = _parse()
    recordings = {one: read_spoken(options.speech, one)[:: options.every] for one in options.languages}
    conditions = _conditions(options, sum(map(len, recordings.values())))
    print(table(conditions, COLUMNS), flush=True)
    report = Report[Row]({"conditions": conditions}, [])
    aligner = Aligner()
    for clients in options.clients:
        with serving.serving(clients, options) as server:
            for language in options.languages:
                turns = _turns(recordings[language], clients, server, options)
                row, judged = summed_up(turns, aligner.words)
                report.rows.append(row)
                print(line(COLUMNS, row), flush=True)
                if options.trace:
                    _trace(row, judged, options.trace)
    command.keep(report, options, "bench.live.rows")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.live", description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 8], help="rows for each number")
    parser.add_argument("--languages", nargs="+", choices=["ko", "en"], default=["ko", "en"])
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="that count, of each row, with live text and without"
    )
    parser.add_argument("--every", type=int, default=1, help="take one recording of so many (default: all)")
    parser.add_argument("--packet-ms", type=int, default=30, help="of audio in a packet")
    serving.add_options(parser)
    parser.add_argument("--seed", type=int, default=1, help="of the order of recordings and of the starts")
    parser.add_argument(
        "--trace", type=argparse.FileType("w", encoding="utf-8"), help="keep all that was shown of each utterance here"
    )
    options = command.parse(parser)
    faults = {
        **serving.faults(options),
        "--clients: at least 1": min(options.clients) < 1,
        "--seconds: more than 0": options.seconds <= 0,
        "--every: at least 1": options.every < 1,
        "--packet-ms: 1 to 1000": not 1 <= options.packet_ms <= 1000,
    }
    for text, wrong in faults.items():
        if wrong:
            parser.error(text)
    return options


def _conditions(options: argparse.Namespace, recordings: int) -> str:
    """What is measured with, in one line."""
    spoken = f"{recordings} recordings, packets of {options.packet_ms} ms, {options.seconds:g} s for each row"
    return f"{spoken} with live text and as much without, in turns, {usable_cores()} cores{serving.place(options)}"


# --- the turns of one row --------------------------------------------------------------------


def _turns(
    recordings: Sequence[Recording], clients: int, server: Tuple[Address, Optional[int]], options: argparse.Namespace
) -> List[Turn]:
    parts = [
        [_voice(recordings, number, part, options) for number in range(clients)] for part in range(_ORDER.count(True))
    ]
    turns: List[Turn] = []
    for partial in _ORDER:
        gc.collect()
        asked = SessionOptions(language=recordings[0].language, partial=partial, events=True, detail=True)
        part = sum(turn.asked.partial is partial for turn in turns)
        turns.append(_turn(parts[part], asked, server, options))
    return turns


def _voice(recordings: Sequence[Recording], number: int, part: int, options: argparse.Namespace) -> Voice:
    chance = plan.client_random(options.seed, number + part * _MOST_CLIENTS)
    offset_s, duration_s = plan.begin(options.seconds / _ORDER.count(True), chance)
    return plan.make_stream(recordings, duration_s, chance), offset_s


def _turn(
    voices: Sequence[Voice],
    asked: SessionOptions,
    server: Tuple[Address, Optional[int]],
    options: argparse.Namespace,
) -> Turn:
    address, pid = server
    clients = [
        LiveClient(address, f"live-{number}", stream, options.packet_ms, asked)
        for number, (stream, _) in enumerate(voices)
    ]
    streams, offsets_s = zip(*voices)
    times = timetable(streams, offsets_s, options.seconds / _ORDER.count(True))
    with UsageWatch(pid, times.window) as watch:
        lags_ms = converse(clients, None, times)
    return Turn(asked, clients, times.window, watch.usage, lags_ms)


def _trace(row: Row, judged: Sequence[Judged], file: TextIO) -> None:
    """One line of JSON for each utterance, so that what made a figure bad can be found."""
    for one in judged:
        fields = {"language": row.language, "clients": row.clients, **one.trace()}
        file.write(json.dumps(fields, ensure_ascii=False) + "\n")
    file.flush()


if __name__ == "__main__":
    main()
