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
from typing import Dict, List, Optional, Sequence, Tuple

from bench import command, serving
from bench.load import plan
from bench.load.clients import LiveClient, PushingClient, converse, error_rate, failures, timetable
from bench.load.plan import NEIGHBOUR_S, Stream, Tally, Window, percentile
from bench.load.rows import COLUMNS, Row
from bench.load.usage import Usage, UsageWatch
from bench.recordings import Recording, read_spoken
from bench.report import Report, line, table
from engine.cores import usable_cores

LANGUAGE = "ko"


def main() -> None:
    """Measure each number of clients, print a row for each, draw the chart where one is wanted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that our server ends with us
    gc.disable()  # its pauses would make packets late
    options = _parse()
    recordings = read_spoken(options.speech, LANGUAGE)
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
    serving.add_options(parser)
    parser.add_argument("--neighbour", action="store_true", help="one more client sends as fast as the server takes it")
    parser.add_argument("--silence", action="store_true", help="the clients send digital silence only")
    parser.add_argument("--seed", type=int, default=1, help="of the order of recordings and of the starts")
    options = command.parse(parser)
    faults = {
        **serving.faults(options),
        "--clients: at least 1": min(options.clients) < 1,
        "--seconds: more than 0": options.seconds <= 0,
        "--packet-ms: 1 to 1000": not 1 <= options.packet_ms <= 1000,
        "--svg draws latencies, which --silence has none of": options.silence and options.svg is not None,
    }
    for text, wrong in faults.items():
        if wrong:
            parser.error(text)
    return options


def _conditions(options: argparse.Namespace, recordings: int) -> str:
    """What is measured with, in one line."""
    said = "digital silence" if options.silence else f"{recordings} Korean recordings"
    machine = f"{usable_cores()} cores{serving.place(options)}"
    return f"{said}, packets of {options.packet_ms} ms, {options.seconds:g} s for each row, {machine}"


# --- one row ---------------------------------------------------------------------------------


def _measure(recordings: Sequence[Recording], clients: int, options: argparse.Namespace) -> Row:
    gc.collect()
    streams, offsets_s = zip(*(_voice(recordings, number, options) for number in range(clients)))
    pushed = plan.make_stream(recordings, max(NEIGHBOUR_S, options.seconds), plan.client_random(options.seed, -1))
    with serving.serving(clients + options.neighbour, options, language=LANGUAGE) as (address, pid):
        live = [
            LiveClient(address, f"load-{number}", stream, options.packet_ms) for number, stream in enumerate(streams)
        ]
        neighbour = PushingClient(address, "load-neighbour", pushed.pcm) if options.neighbour else None
        times = timetable(streams, offsets_s, options.seconds)
        with UsageWatch(pid, times.window) as watch:
            lags_ms = converse(live, neighbour, times)
    return _row(live, neighbour, times.window, watch.usage, lags_ms)


def _voice(recordings: Sequence[Recording], number: int, options: argparse.Namespace) -> Tuple[Stream, float]:
    """What one client sends, and when it begins: seconds after the first one may."""
    chance = plan.client_random(options.seed, number)
    offset_s, duration_s = plan.begin(options.seconds, chance)
    if options.silence:
        return plan.make_silence(duration_s), offset_s
    return plan.make_stream(recordings, duration_s, chance), offset_s


def _row(
    live: Sequence[LiveClient], neighbour: Optional[PushingClient], window: Window, usage: Usage, lags_ms: List[float]
) -> Row:
    tally = Tally.joined([client.tally(window) for client in live])
    lag_p95_ms, late_packets = plan.lag(lags_ms)
    return Row(
        name=_name(live, neighbour),
        clients=len(live),
        results=len(tally.latencies_ms),
        latency_median_ms=percentile(tally.latencies_ms, 50),
        latency_p95_ms=percentile(tally.latencies_ms, 95),
        latency_max_ms=percentile(tally.latencies_ms, 100),
        failures={**failures(live), **_failures(neighbour)},
        without_result=tally.without_result,
        cut=tally.cut,
        unmatched=tally.unmatched,
        error_rate=error_rate(live, LANGUAGE),
        generator_lag_p95_ms=lag_p95_ms,
        late_packets=late_packets,
        neighbour_times_real_time=None if neighbour is None else neighbour.times_real_time,
        **usage._asdict(),
    )


def _name(live: Sequence[LiveClient], neighbour: Optional[PushingClient]) -> str:
    silent = "" if live[0].stream.placed else " silent"
    return f"{len(live)}{silent}{' + one that pushes' if neighbour else ''}"


def _failures(neighbour: Optional[PushingClient]) -> Dict[str, int]:
    if neighbour is None or neighbour.failure is None:
        return {}
    return {f"{neighbour.failure} (the one that pushes)": 1}


if __name__ == "__main__":
    main()
