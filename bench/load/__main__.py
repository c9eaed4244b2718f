"""`python -m bench.load`: the latency of a server under clients that speak in real time, a table and a chart.

Each client streams recordings with silence between at the pace of a microphone. The latency of a result counts from
the sending of the packet that completes the silence after the utterance to the arrival of its text; where utterances
end, the benchmark's own VAD says. What counts is the time in which all clients speak.

Two versions of the server in one run: start each from its own folder, with a port of its own, `model.language: ko` and
an engine for each client, and measure them in turns with the clients of this one. Only rows of one run are comparable,
so begin and end with the same version:

    for server in "7001 $OLD_PID" "7002 $NEW_PID" "7001 $OLD_PID"; do
        set -- $server
        python -m bench.load --host 127.0.0.1 --port $1 --pid $2 --clients 1 8
    done
"""

import argparse
import gc
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import psutil

from bench import command
from bench.load import plan
from bench.load.clients import Address, LiveClient, PushingClient, Timetable, converse
from bench.load.plan import NEIGHBOUR_S, STAGGER_S, Stream, Tally, Window, percentile
from bench.load.rows import COLUMNS, Row
from bench.load.usage import Usage, UsageWatch
from bench.recordings import Recording, read_recordings
from bench.report import Report, line, table
from bench.speech import error_rate
from engine.cores import usable_cores
from tests.harness.server import ServerProcess

LANGUAGE = "ko"
_DRAIN_S = 120.0  # for what is still to be recognised when all audio is sent
_TAIL_S = 1.0  # of audio, at least, behind what counts, so that all clients are there until its end is measured
_LEAD_S = 0.5  # from the plan of a run to its first packet


def main() -> None:
    """Measure each number of clients, print a row for each, draw the chart where one is wanted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that our server ends with us
    gc.disable()  # its pauses would make packets late
    options = _parse()
    recordings = _recordings(options.speech)
    conditions = _conditions(options, len(recordings))
    print(table(conditions, COLUMNS), flush=True)
    report = Report[Row]({"conditions": conditions}, [])
    for clients in options.clients:
        report.rows.append(_measure(recordings, clients, options))
        print(line(COLUMNS, report.rows[-1]), flush=True)
    command.keep(report, options, "bench.load.rows")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.load", description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 16, 24], help="one row for each number")
    parser.add_argument("--seconds", type=float, default=60.0, help="that count, of each row")
    parser.add_argument("--packet-ms", type=int, default=30, help="of audio in a packet")
    parser.add_argument("--host", help="a server that runs already; else one is started with an engine for each client")
    parser.add_argument("--port", type=int)
    parser.add_argument("--pid", type=int, help="its process id, where it runs here: what it uses is measured too")
    parser.add_argument("--neighbour", action="store_true", help="one more client sends as fast as the server takes it")
    parser.add_argument("--silence", action="store_true", help="the clients send digital silence only")
    parser.add_argument("--seed", type=int, default=1, help="of the order of recordings and of the starts")
    options = command.parse(parser)
    faults = {
        "--host and --port go together": (options.host is None) != (options.port is None),
        "--pid is that of a server at --host that runs here": options.pid is not None
        and (options.host is None or not psutil.pid_exists(options.pid)),
        "--clients: at least 1": min(options.clients) < 1,
        "--seconds: more than 0": options.seconds <= 0,
        "--packet-ms: 1 to 1000": not 1 <= options.packet_ms <= 1000,
        "--svg draws latencies, which --silence has none of": options.silence and options.svg is not None,
    }
    for text, wrong in faults.items():
        if wrong:
            parser.error(text)
    return options


def _recordings(folder: Path) -> List[Recording]:
    chosen = [one for one in read_recordings(folder) if one.language == LANGUAGE and one.references]
    if not chosen:
        raise SystemExit(f"{folder}: no recording in {LANGUAGE} with a reference")
    return chosen


def _conditions(options: argparse.Namespace, recordings: int) -> str:
    """What is measured with, in one line."""
    said = "digital silence" if options.silence else f"{recordings} Korean recordings"
    server = "" if options.host is None else f", server at {options.host} port {options.port}"
    cores = usable_cores()
    return f"{said}, packets of {options.packet_ms} ms, {options.seconds:g} s for each row, {cores} cores{server}"


# --- one row ---------------------------------------------------------------------------------


def _measure(recordings: Sequence[Recording], clients: int, options: argparse.Namespace) -> Row:
    gc.collect()
    streams, offsets_s = zip(*(_voice(recordings, number, options) for number in range(clients)))
    pushed = plan.make_stream(recordings, max(NEIGHBOUR_S, options.seconds), plan.client_random(options.seed, -1))
    with _server(clients + options.neighbour, options) as (address, pid):
        live = [
            LiveClient(address, f"load-{number}", stream, options.packet_ms) for number, stream in enumerate(streams)
        ]
        neighbour = PushingClient(address, "load-neighbour", pushed.pcm) if options.neighbour else None
        times = _timetable(streams, offsets_s, options.seconds)
        with UsageWatch(pid, times.window) as watch:
            lags_ms = converse(live, neighbour, times)
    return _row(live, neighbour, times.window, watch.usage, lags_ms)


def _voice(recordings: Sequence[Recording], number: int, options: argparse.Namespace) -> Tuple[Stream, float]:
    """What one client sends, and when it begins: seconds after the first one may."""
    chance = plan.client_random(options.seed, number)
    offset_s = chance.uniform(0, STAGGER_S)
    duration_s = STAGGER_S - offset_s + options.seconds + _TAIL_S
    if options.silence:
        return plan.make_silence(duration_s), offset_s
    return plan.make_stream(recordings, duration_s, chance), offset_s


def _timetable(streams: Sequence[Stream], offsets_s: Sequence[float], seconds: float) -> Timetable:
    first_s = time.monotonic() + _LEAD_S
    window = Window(first_s + STAGGER_S, first_s + STAGGER_S + seconds)
    sent_s = max(offset_s + len(stream.pcm) / plan.BYTES_PER_S for stream, offset_s in zip(streams, offsets_s))
    return Timetable([first_s + offset_s for offset_s in offsets_s], window, first_s + sent_s + _DRAIN_S)


@contextmanager
def _server(engines: int, options: argparse.Namespace) -> Iterator[Tuple[Address, Optional[int]]]:
    """Where the server is, and its process where that is known."""
    if options.host is not None:
        yield (options.host, options.port), options.pid
        return
    model = {"channel": engines, "language": LANGUAGE}
    with ExitStack() as stack:
        try:
            process = ServerProcess({"model": model, "network": {"max_connections": max(256, 2 * engines)}})
            server = stack.enter_context(process)
        except RuntimeError as error:
            raise SystemExit(f"the server does not start: {str(error).splitlines()[-1]}") from error
        yield ("127.0.0.1", server.port), server.process.pid


def _row(
    live: Sequence[LiveClient], neighbour: Optional[PushingClient], window: Window, usage: Usage, lags_ms: List[float]
) -> Row:
    tally = Tally.joined([_tally(client, window) for client in live])
    lag_p95_ms, late_packets = plan.lag(lags_ms)
    return Row(
        name=_name(live, neighbour),
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
        generator_lag_p95_ms=lag_p95_ms,
        late_packets=late_packets,
        neighbour_times_real_time=None if neighbour is None else neighbour.times_real_time,
        **usage._asdict(),
    )


def _tally(client: LiveClient, window: Window) -> Tally:
    endpoints = plan.find_endpoints(client.stream.pcm)
    known_s = client.known_s([point.known_bytes for point in endpoints])
    return plan.tally(endpoints, client.heard, known_s, window)


def _name(live: Sequence[LiveClient], neighbour: Optional[PushingClient]) -> str:
    silent = "" if live[0].stream.placed else " silent"
    return f"{len(live)}{silent}{' + one that pushes' if neighbour else ''}"


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
            texts += plan.texts(client.stream.placed, client.heard)
    return error_rate(references, texts, LANGUAGE) if texts else None


if __name__ == "__main__":
    main()
