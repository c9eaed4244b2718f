"""`python -m bench.load`: the latency of a server under clients that speak in real time, a table and a chart.

Each client streams recordings with silence between at the pace of a microphone. The latency of a result counts from
the sending of the packet that completes the silence after the utterance to the arrival of its text; where utterances
end, the benchmark's own VAD says. What counts is the time in which all clients speak.
"""

import argparse
import contextlib
import gc
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from bench import load_plan
from bench.environment import run_module
from bench.load_clients import Address, LiveClient, PushingClient, Timetable, converse
from bench.load_plan import NEIGHBOUR_S, STAGGER_S, Stream, Tally, Window, percentile
from bench.load_report import Report, Row, heading, line
from bench.load_server import Usage, UsageWatch
from bench.speech import Recording, error_rate, read_recordings
from tests.harness.server import ServerProcess, Settings

LANGUAGE = "ko"
_DRAIN_S = 120.0  # for what is still to be recognised when all audio is sent
_TAIL_S = 1.0  # of audio, at least, behind what counts, so that all clients are there until its end is measured
_LEAD_S = 0.5  # from the plan of a run to its first packet


class _Voice(NamedTuple):
    """What one client sends, when it begins (seconds after the first one may), and where its utterances end."""

    stream: Stream
    offset_s: float
    endpoints: List[load_plan.EndPoint]


def main() -> None:
    """Measure each number of clients, print a row for each, draw the chart where one is wanted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that our server ends with us
    options = _parse()
    recordings = _recordings(options)
    conditions = _conditions(options, len(recordings))
    print(heading(conditions), flush=True)
    rows: List[Row] = []
    for clients in options.clients:
        rows.append(_measure(recordings, clients, options))
        print(line(rows[-1]), flush=True)
    _keep(Report(conditions, rows), options)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speech", type=Path, default=os.environ.get("SPEECH_DIR"), help="folder with manifest.tsv")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 16, 24], help="one row for each number")
    parser.add_argument("--seconds", type=float, default=60.0, help="that count, of each row")
    parser.add_argument("--packet-ms", type=int, default=30, help="of audio in a packet")
    parser.add_argument("--host", help="a server that runs already; else one is started with an engine for each client")
    parser.add_argument("--port", type=int)
    parser.add_argument("--neighbour", action="store_true", help="one more client sends as fast as the server takes it")
    parser.add_argument("--silence", action="store_true", help="the clients send digital silence only")
    parser.add_argument("--seed", type=int, default=1, help="of the order of recordings and of the starts")
    parser.add_argument("--json", type=Path, help="keep the rows of the table in this file too")
    parser.add_argument("--svg", type=Path, help="draw them into this file")
    parser.add_argument("--bench-python", default=sys.executable, help="Python of the environment with matplotlib")
    options = parser.parse_args()
    fault = _fault(options)
    if fault:
        parser.error(fault)
    return options


def _fault(options: argparse.Namespace) -> Optional[str]:
    """What is wrong with the options, if anything."""
    faults = {
        "--speech or SPEECH_DIR names the folder of recordings with manifest.tsv": options.speech is None,
        "--host and --port go together": (options.host is None) != (options.port is None),
        "--clients: at least 1": min(options.clients) < 1,
        "--seconds: more than 0": options.seconds <= 0,
        "--packet-ms: 1 to 1000": not 1 <= options.packet_ms <= 1000,
        "--svg draws latencies, which --silence has none of": options.silence and options.svg is not None,
    }
    return next((text for text, wrong in faults.items() if wrong), None)


def _recordings(options: argparse.Namespace) -> List[Recording]:
    chosen = [one for one in read_recordings(Path(options.speech), 1) if one.language == LANGUAGE]
    if not chosen:
        raise SystemExit(f"{options.speech}: no recording in {LANGUAGE} with a reference")
    return chosen


def _conditions(options: argparse.Namespace, recordings: int) -> str:
    """What is measured with, in one line."""
    said = "digital silence" if options.silence else f"{recordings} Korean recordings"
    server = "" if options.host is None else f", server at {options.host} port {options.port}"
    cores = len(os.sched_getaffinity(0))
    return f"{said}, packets of {options.packet_ms} ms, {options.seconds:g} s for each row, {cores} cores{server}"


def _keep(report: Report, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        kept = options.json or Path(folder) / "rows.json"
        report.write(kept)
        if options.svg:
            run_module(options.bench_python, "bench.load_chart", str(kept), str(options.svg))


# --- one row ---------------------------------------------------------------------------------


def _measure(recordings: Sequence[Recording], clients: int, options: argparse.Namespace) -> Row:
    voices = [_voice(recordings, number, options) for number in range(clients)]
    pushed = load_plan.make_stream(
        recordings, max(NEIGHBOUR_S, options.seconds), load_plan.client_random(options.seed, -1)
    )
    with _server(clients + options.neighbour, options) as (address, pid):
        live = [
            LiveClient(address, f"load-{number}", voice.stream, options.packet_ms)
            for number, voice in enumerate(voices)
        ]
        neighbour = PushingClient(address, "load-neighbour", pushed.pcm) if options.neighbour else None
        times = _timetable(voices, options.seconds)
        with UsageWatch(pid, times.window) as watch, _no_collection():
            lags_ms = converse(live, neighbour, times)
    return _row(voices, live, neighbour, times.window, (watch.usage, lags_ms))


def _voice(recordings: Sequence[Recording], number: int, options: argparse.Namespace) -> _Voice:
    chance = load_plan.client_random(options.seed, number)
    offset_s = chance.uniform(0, STAGGER_S)
    duration_s = STAGGER_S - offset_s + options.seconds + _TAIL_S
    if options.silence:
        return _Voice(load_plan.make_silence(duration_s), offset_s, [])
    stream = load_plan.make_stream(recordings, duration_s, chance)
    return _Voice(stream, offset_s, load_plan.find_endpoints(stream.pcm))


def _timetable(voices: Sequence[_Voice], seconds: float) -> Timetable:
    first_s = time.monotonic() + _LEAD_S
    window = Window(first_s + STAGGER_S, first_s + STAGGER_S + seconds)
    sent_s = max(voice.offset_s + len(voice.stream.pcm) / load_plan.BYTES_PER_S for voice in voices)
    return Timetable([first_s + voice.offset_s for voice in voices], window, first_s + sent_s + _DRAIN_S)


@contextlib.contextmanager
def _server(engines: int, options: argparse.Namespace) -> Iterator[Tuple[Address, Optional[int]]]:
    """Where the server is, and its process if it is ours."""
    if options.host is not None:
        yield (options.host, options.port), None
        return
    settings: Settings = {
        "model": {"channel": engines, "language": LANGUAGE},
        "network": {"max_connections": max(256, 2 * engines)},
    }
    server = ServerProcess(settings)
    try:
        server.__enter__()
    except RuntimeError as error:
        raise SystemExit(f"the server does not start: {str(error).splitlines()[-1]}") from error
    with contextlib.closing(server):
        yield ("127.0.0.1", server.port), server.process.pid


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection: its pauses would make packets late."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _row(
    voices: Sequence[_Voice],
    live: Sequence[LiveClient],
    neighbour: Optional[PushingClient],
    window: Window,
    generator: Tuple[Optional[Usage], List[float]],
) -> Row:
    usage, lags_ms = generator
    tally = Tally.joined([_tally(voice, client, window) for voice, client in zip(voices, live)])
    lag_p95_ms, late_packets = load_plan.lag(lags_ms)
    return Row(
        name=_name(voices, neighbour),
        clients=len(live),
        results=len(tally.latencies_ms),
        latency_median_ms=percentile(tally.latencies_ms, 50),
        latency_p95_ms=percentile(tally.latencies_ms, 95),
        latency_max_ms=percentile(tally.latencies_ms, 100),
        failures=_failures(live, neighbour),
        without_result=tally.without_result,
        cut=tally.cut,
        unmatched=tally.unmatched,
        error_rate=_error_rate(live),
        server_cores=usage and usage.server_cores,
        server_pss_mb=usage and usage.server_pss_mb,
        engine_pss_mb=usage and usage.engine_pss_mb,
        engine_private_mb=usage and usage.engine_private_mb,
        generator_cores=usage and usage.generator_cores,
        generator_lag_p95_ms=lag_p95_ms,
        late_packets=late_packets,
        neighbour_times_real_time=None if neighbour is None else neighbour.times_real_time,
    )


def _tally(voice: _Voice, client: LiveClient, window: Window) -> Tally:
    known_s = client.known_s([point.known_bytes for point in voice.endpoints])
    return load_plan.tally(voice.endpoints, client.heard, known_s, window)


def _name(voices: Sequence[_Voice], neighbour: Optional[PushingClient]) -> str:
    silent = "" if voices[0].stream.placed else " silent"
    return f"{len(voices)}{silent}{' + one that pushes' if neighbour else ''}"


def _failures(live: Sequence[LiveClient], neighbour: Optional[PushingClient]) -> Dict[str, int]:
    kinds = [client.failure for client in live if client.failure is not None]
    if neighbour is not None and neighbour.failure is not None:
        kinds.append(f"{neighbour.failure} (the one that pushes)")
    return dict(Counter(kinds))


def _error_rate(live: Sequence[LiveClient]) -> Optional[float]:
    references: List[List[str]] = []
    texts: List[str] = []
    for client in live:
        if client.failure is None:
            references += [placed.recording.references for placed in client.stream.placed]
            texts += load_plan.texts(client.stream.placed, client.heard)
    return error_rate(references, texts, LANGUAGE) if texts else None


if __name__ == "__main__":
    main()
