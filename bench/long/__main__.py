"""`python -m bench.long`: speech that goes on for minutes, through a server and through those who have the whole file.

The server is as it is configured without a file: it cuts at 10 s where nobody pauses, and gets all of a recording as
fast as it takes it, in one session. In turns with a server that has `model.context: off`, and with faster-whisper and
openai-whisper, which get the whole file and go by their own timestamps from window to window, none conditioned on the
text before; openai-whisper decodes greedily, unless --only asks for beam 5, which is slow. Everybody may use all cores.
The first recording of a language is sent once before it counts.

The recordings are joined in memory of short ones; what that is and is not: `bench.long.joined`. Errors are also counted
apart for what was said within 1.5 s of where the server cuts by length. These are the same places for everybody, so
those who did not cut there say how hard they are.
"""

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

import numpy as np

from bench import command
from bench.long.differences import Compared, compare, near
from bench.long.joined import LongRecording, cuts_s, join_all
from bench.long.rows import COLUMNS, Row
from bench.recognizers.contenders import CTRANSLATE2, WHOLE_FILES
from bench.recognizers.process import on_the_processor
from bench.recognizers.weights import write_ctranslate2
from bench.recordings import read_spoken
from bench.report import Report, line, table
from bench.serving import Recognise, through
from engine.cores import usable_cores
from recognizer.audio import SAMPLE_RATE, to_samples
from tests.harness.server import ServerProcess

_SERVERS = {"a server": "auto", "a server, model.context off": "off"}  # model.context
_SLOW = "openai-whisper float32, beam 5, whole file"  # as long as all others together


class _Said(NamedTuple):
    """What one way made of a long recording."""

    text: str
    seconds: float


def main() -> None:
    """Measure each language, print a row for each way, draw the chart where one is wanted."""
    options = _parse()
    recordings = {
        language: join_all(read_spoken(options.speech, language)[:: options.every], options.seconds, options.takes)
        for language in options.languages
    }
    conditions = _conditions([one for several in recordings.values() for one in several])
    print(table(conditions, COLUMNS), flush=True)
    report = Report[Row]({"conditions": conditions}, [])
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        models = Path(folder)
        if any(name.startswith("faster-whisper") for name in options.only):
            write_ctranslate2(models / CTRANSLATE2)
        for language, several in recordings.items():
            said = _measure(several, language, options, models)
            for name in options.only:
                compared = [compare(recording, one.text) for recording, one in zip(several, said[name])]
                report.rows.append(_row(name, several, compared, sum(one.seconds for one in said[name])))
                print(line(COLUMNS, report.rows[-1]), flush=True)
                if options.trace:
                    _trace(name, several, compared, said[name], options)
    command.keep(report, options, "bench.long.rows")


def _parse() -> argparse.Namespace:
    names = [*_SERVERS, *WHOLE_FILES]
    quick = [name for name in names if name != _SLOW]
    parser = argparse.ArgumentParser("python -m bench.long", description=__doc__.splitlines()[0])
    parser.add_argument("--languages", nargs="+", choices=["ko", "en"], default=["ko", "en"])
    parser.add_argument("--only", nargs="+", choices=names, default=quick, help="of the recognisers")
    parser.add_argument("--seconds", type=float, default=150.0, help="of a long recording, about")
    parser.add_argument("--takes", type=int, default=1, help="each long recording so often, begun at other places")
    parser.add_argument("--every", type=int, default=1, help="take one recording of so many (default: all)")
    parser.add_argument("--trace", type=argparse.FileType("w", encoding="utf-8"), help="keep every difference here")
    options = command.parse(parser)
    for name in ("seconds", "takes", "every"):
        if getattr(options, name) <= 0:
            parser.error(f"--{name}: more than 0")
    return options


def _conditions(recordings: Sequence[LongRecording]) -> str:
    """What is measured with, in one line."""
    duration_s = sum(one.duration_s for one in recordings)
    n_cuts = sum(len(cuts_s(one.pcm)) for one in recordings)
    return (
        f"Whisper base, {len(recordings)} long recordings of together {duration_s:.0f} s, {n_cuts} cuts by length, "
        f"in turns in one run, {usable_cores()} cores"
    )


def _measure(
    recordings: Sequence[LongRecording], language: str, options: argparse.Namespace, models: Path
) -> Dict[str, List[_Said]]:
    said: Dict[str, List[_Said]] = {name: [] for name in options.only}
    with ExitStack() as stack:
        ways = {name: _way(name, language, options, models, stack) for name in options.only}
        for way in ways.values():
            way(recordings[0].parts[0].recording.pcm)  # not counted
        for recording in recordings:
            for name, way in ways.items():
                began_s = time.perf_counter()
                text = way(recording.pcm)
                said[name].append(_Said(text, time.perf_counter() - began_s))
    return said


def _way(name: str, language: str, options: argparse.Namespace, models: Path, stack: ExitStack) -> Recognise:
    if name in _SERVERS:
        settings = {"model": {"language": language, "context": _SERVERS[name]}}
        return through("127.0.0.1", stack.enter_context(ServerProcess(settings)).port)
    contender = on_the_processor(name, usable_cores(), options.bench_python, models)
    stack.callback(contender.close)
    path = models / "recording.npy"

    def recognise(pcm: bytes) -> str:
        np.save(path, to_samples(pcm, SAMPLE_RATE))
        return str(contender.ask(language, path)["text"])

    return recognise


def _row(name: str, recordings: Sequence[LongRecording], compared: Sequence[Compared], seconds: float) -> Row:
    places = [(one, cuts_s(recording.pcm)) for recording, one in zip(recordings, compared)]
    edits = {kind: sum(one.edits(kind) for one in compared) for kind in ("wrong", "lost", "added")}
    return Row(
        name,
        recordings[0].language,
        sum(one.duration_s for one in recordings) / seconds,
        sum(len(one.tokens_s) for one in compared),
        edits["wrong"],
        edits["lost"],
        edits["added"],
        sum(near(one.tokens_s, cuts) for one, cuts in places),
        sum(difference.edits * near([difference.at_s], cuts) for one, cuts in places for difference in one.differences),
    )


def _trace(
    name: str,
    recordings: Sequence[LongRecording],
    compared: Sequence[Compared],
    said: Sequence[_Said],
    options: argparse.Namespace,
) -> None:
    """Lines of JSON: each text, and behind it what differs, with the seconds from the nearest cut."""
    for recording, one, text in zip(recordings, compared, said):
        where = {"recogniser": name, "recording": recording.name}
        cuts = cuts_s(recording.pcm)
        lines = [{**where, "text": text.text, "seconds": text.seconds, "cuts_s": cuts}]
        for difference in one.differences:
            from_cut_s = min((difference.at_s - cut_s for cut_s in cuts), key=abs, default=None)
            lines.append({**where, **difference._asdict(), "from_cut_s": from_cut_s})
        for fields in lines:
            options.trace.write(json.dumps(fields, ensure_ascii=False) + "\n")
    options.trace.flush()


if __name__ == "__main__":
    main()
