"""`python -m bench.gateway`: what the gateway costs, beside many sessions that keep it busy.

Every session streams in real time to `/v1/realtime`. All but one send digital silence, which costs the gateway what
speech does, and the server little. Between the gateway and the server stands what notes when sound and text pass, so
what is later is the gateway's own: the server's part, which differs from one time to the next, is not in it. What is
left is how long the gateway waits for a core that the server or the silent clients use; in the second half of the rows
these give way to it, as if they were on other machines.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
from typing import List

import numpy as np
import numpy.typing as npt
import psutil
import soxr

from bench import command
from bench.gateway.rows import COLUMNS, Row
from bench.gateway.sessions import RATE, be_silent, stream
from bench.gateway.tap import Tap, later_ms
from bench.load.plan import percentile
from bench.recordings import Recording, read_spoken
from bench.report import Report, line, table
from engine.cores import usable_cores
from gateway.upstream import Address, Upstream
from tests.harness.gateway import GatewayProcess
from tests.harness.server import ServerProcess

_PAUSE_S = 1.0  # of silence behind each recording
_SPARE_ENGINES = 2
_SPEECH_RATE = 16_000
_TICK_S = 0.1
_NICENESS = 10
_MARGIN_S = 60.0  # of the silent sessions, for the others to start


def main() -> None:
    """Measure a row for each length of packet, with the others as they are and giving way."""
    options = _parse()
    recordings = read_spoken(options.speech, "ko")[: options.recordings]
    conditions = f"{len(recordings)} Korean recordings, {usable_cores()} cores"
    print(table(conditions, COLUMNS), flush=True)
    report = Report[Row]({"conditions": conditions}, [])
    settings = {
        "model": {"channel": options.sessions + _SPARE_ENGINES, "language": "ko"},
        "network": {"engine_wait": 10, "max_connections": 4 * options.sessions + 64},
    }
    with ServerProcess(settings) as server:
        for niceness in (0, _NICENESS):
            _be_nice(server.process.pid, niceness)
            for packet_ms in options.packet_ms:
                row = asyncio.run(_measured(server, _sound(recordings), packet_ms, options.sessions, niceness))
                report.rows.append(row)
                print(line(COLUMNS, row), flush=True)
    if options.json:
        report.write(options.json)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.gateway", description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--packet-ms", type=int, nargs="+", default=[100, 20])
    parser.add_argument("--recordings", type=int, default=12, help="that are said, one after the other")
    return command.parse(parser, draws=False)


def _sound(recordings: List[Recording]) -> bytes:
    pause = bytes(int(_PAUSE_S * _SPEECH_RATE) * 2)
    spoken = b"".join(recording.pcm + pause for recording in recordings)
    resampled: npt.NDArray[np.int16] = soxr.resample(np.frombuffer(spoken, np.int16), _SPEECH_RATE, RATE)
    return resampled.astype("<i2").tobytes()


def _be_nice(pid: int, niceness: int) -> None:
    """To the others: each thread of this process and of its children, more than this process is."""
    process = psutil.Process(pid)
    for member in [process, *process.children(recursive=True)]:
        for thread in member.threads():
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.setpriority(os.PRIO_PROCESS, thread.id, os.nice(0) + niceness)


async def _measured(server: ServerProcess, pcm: bytes, packet_ms: int, sessions: int, niceness: int) -> Row:
    loop = asyncio.get_running_loop()
    async with Tap(Address("127.0.0.1", server.port)) as tap:
        gateway = await loop.run_in_executor(None, GatewayProcess([tap.address.port]).__enter__)
        url, duration_s = gateway.url("/v1/realtime", "ws"), len(pcm) / (2 * RATE) + _MARGIN_S
        silent = multiprocessing.get_context("spawn").Process(
            target=be_silent, args=(url, sessions - 1, duration_s, packet_ms, niceness), daemon=True
        )
        silent.start()
        try:
            upstream = Upstream([Address("127.0.0.1", server.port)])
            while sum(engine.state == "running" for engine in await upstream.engines()) < sessions - 1:
                if not silent.is_alive():
                    raise SystemExit("the silent sessions have ended; what is above says why")
                await asyncio.sleep(_TICK_S)
            process = psutil.Process(gateway.process.pid)
            tap.record()
            begun_s, before = loop.time(), process.cpu_times()
            session = await stream(url, pcm, packet_ms)
            after, passed_s = process.cpu_times(), loop.time() - begun_s
            if not silent.is_alive():
                raise SystemExit("the silent sessions have ended; what is above says why")
            gateway_mb = process.memory_info().rss / 1e6
        finally:
            silent.kill()
            silent.join()
            await loop.run_in_executor(None, gateway.close)
        passed = max(tap.passed(), key=lambda one: len(one.shown))  # silent ones may have begun anew meanwhile
    later = later_ms(session.sent, passed, session.seen)
    cores = (after.user + after.system - before.user - before.system) / passed_s
    values = (percentile(later, percent) for percent in (50, 95, 100))
    return Row(sessions, packet_ms, niceness > 0, cores, gateway_mb, len(later), *values)


if __name__ == "__main__":
    main()
