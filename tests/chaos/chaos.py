"""Crowd and monkey against one server, and the server before and after."""

import time
from typing import Any, Dict, List, NamedTuple, Tuple

import psutil

from tests.chaos.crowd import Clip, Crowd
from tests.chaos.footprint import Footprint, footprint
from tests.chaos.monkey import Monkey
from tests.harness.engines import relatives, wait_until_all_sleep
from tests.harness.server import ServerProcess
from tests.harness.wire import END, Wire, results, session_bytes

ENGINES = 3
HANG_TIMEOUT_S = 6.0
OWN_THREADS = 4  # main, acceptor, clock, log; and one keeper for each engine
_SECOND_BYTES = 110_800  # "Fail again. Fail better.", at the end
SETTINGS: Dict[str, Dict[str, Any]] = {
    "model": {"language": "en", "channel": ENGINES, "hang_timeout": HANG_TIMEOUT_S},
    "network": {"engine_wait": 15, "socket_timeout": 10, "max_connections": 64},
    "logging": {"save_pcm": True},
}


class Report(NamedTuple):
    """What happened."""

    minutes: float
    outcomes: Dict[str, int]
    deeds: Dict[str, int]
    wrongs: List[str]
    before: Footprint
    after: Footprint
    faults: List[str]  # tracebacks in the log, what was left behind

    def __str__(self) -> str:
        lines = [
            f"{self.minutes:.1f} minutes",
            f"connections: {listed(self.outcomes)}",
            f"harm done: {listed(self.deeds)}",
            f"before: {self.before}",
            f"after:  {self.after}",
            f"wrong: {len(self.wrongs)}, faults: {len(self.faults)}",
        ]
        return "\n".join(lines + self.wrongs + self.faults)


def listed(counts: Dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def run(duration_s: float, seed: int, speech: bytes) -> Report:
    """Make chaos for so long; `speech` is the ten seconds of English that the tests use."""
    with ServerProcess(SETTINGS) as server:
        clips = [Clip(pcm, _undisturbed(server, pcm)) for pcm in cut(speech)]
        assert len({tuple(clip.results) for clip in clips}) == len(clips), clips  # so that a mix-up shows
        wait_until_all_sleep(server)
        before = footprint(server, at_most_threads=ENGINES + OWN_THREADS)
        crowd, monkey = Crowd(server.port, clips, seed), Monkey(server, HANG_TIMEOUT_S, seed)
        started_s = time.monotonic()
        crowd.start(speakers=ENGINES + 1, leavers=2, strangers=3)
        time.sleep(duration_s)
        monkey.stop()
        crowd.stop()
        minutes = (time.monotonic() - started_s) / 60
        wait_until_all_sleep(server)
        after = footprint(server, at_most_threads=before.threads)
        faults = [line for line in server.lines if "Traceback" in line or "fails" in line]
        status = server.stop()
        _, left = psutil.wait_procs(relatives(server.process.pid), timeout=10)
        if status or left:
            faults.append(f"the server stopped with status {status} and left {left}")
    return Report(minutes, crowd.outcomes, monkey.deeds, crowd.wrongs, before, after, faults)


def cut(speech: bytes) -> Tuple[bytes, ...]:
    """The recording or its clip, its two utterances, both the other way round, silence."""
    middle = len(speech) - _SECOND_BYTES
    first, second, silence = speech[:middle], speech[middle:], bytes(2 * 32000)
    return speech + silence, first + silence, silence + second, second + silence + first, silence


def _undisturbed(server: ServerProcess, pcm: bytes) -> List[str]:
    with Wire(server.port) as wire:
        wire.send(session_bytes(pcm))
        packets = wire.read_all()
    assert packets[-1] == END
    return results(packets)
