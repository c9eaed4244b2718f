"""HAProxy, gateways and servers, calls at every door, and harm everywhere: `python -m tests.chaos.fleet`."""

import argparse
import contextlib
import random
import sys
import threading
import time
from collections import Counter
from typing import Any, Dict, List, NamedTuple, Optional, Tuple
from typing import Counter as CounterType

import psutil

from demo.recording import clip_pcm
from tests.chaos import crowd
from tests.chaos.callers import BEHIND_THE_BALANCER, Caller, Heard, Pace, call, over_tcp, over_wyoming
from tests.chaos.chaos import cut, listed
from tests.chaos.fleet_monkey import FleetMonkey
from tests.harness.balancer import Balancer
from tests.harness.engines import relatives, wait_until_all_sleep
from tests.harness.fleet import Fleet
from tests.harness.server import ServerProcess

SERVERS, GATEWAYS, ENGINES = 3, 2, 2
_HANG_TIMEOUT_S = 6.0
_SETTINGS: Dict[str, Dict[str, Any]] = {
    "model": {"language": "en", "hang_timeout": _HANG_TIMEOUT_S},
    "network": {"socket_timeout": 10, "drain_timeout": 20},
}
_UNHURRIED = Pace(100, 1000)


class Door(NamedTuple):
    """Where calls go: one of the ports, by chance."""

    name: str
    caller: Caller
    ports: List[int]


class Clip(NamedTuple):
    """Sound, and what each door says of it when nothing goes wrong."""

    pcm: bytes
    texts: Dict[str, List[str]]

    @property
    def over_tcp(self) -> crowd.Clip:
        """The same, for clients of the protocol alone."""
        return crowd.Clip(self.pcm, self.texts["tcp"])


class Report(NamedTuple):
    """What happened; how calls ended, for each door."""

    minutes: float
    outcomes: Dict[str, CounterType[str]]
    deeds: CounterType[str]
    wrongs: List[str]
    faults: List[str]

    def __str__(self) -> str:
        lines = [f"{self.minutes:.1f} minutes"]
        lines += [f"{door}: {listed(counts)}" for door, counts in self.outcomes.items()]
        lines += [f"harm done: {listed(self.deeds)}", f"wrong: {len(self.wrongs)}, faults: {len(self.faults)}"]
        return "\n".join(lines + self.wrongs + self.faults)


class Callers:
    """A thread for each door, which calls without end; counts in `outcomes` how, and keeps what is wrong."""

    def __init__(self, doors: List[Door], clips: List[Clip], monkey: FleetMonkey, seed: int) -> None:
        self._clips = clips
        self._monkey = monkey
        self._stopping = threading.Event()
        self.outcomes: Dict[str, CounterType[str]] = {door.name: Counter() for door in doors}
        self.wrongs: List[str] = []
        self._threads = [
            threading.Thread(target=self._repeat, args=(door, random.Random(f"{seed}-{door.name}")), daemon=True)
            for door in doors
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let everybody finish."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, door: Door, chance: random.Random) -> None:
        try:
            self._call_on(door, chance)
        except Exception as error:  # of what no door may do
            self.wrongs.append(f"{door.name} calls no more: {error!r}")
            raise

    def _call_on(self, door: Door, chance: random.Random) -> None:
        while not self._stopping.is_set():
            clip = chance.choice(self._clips)
            pace = Pace(chance.choice([10, 30, 100, 1000]), chance.choice([2, 4, 8, 1000]))
            start_s = time.monotonic()
            heard = call(door.caller, chance.choice(door.ports), clip.pcm, pace)
            may_be_cut = self._monkey.has_cut(start_s, time.monotonic())
            outcome = judged(heard, clip.texts[door.name], may_be_cut)
            self.outcomes[door.name][outcome] += 1
            if outcome == "wrong":
                self.wrongs.append(f"{door.name}: {heard} of {clip.texts[door.name]}, cut {may_be_cut}")
            if outcome != "right":
                self._stopping.wait(chance.uniform(0, 1))  # as clients do that try again


def judged(heard: Heard, right: List[str], may_be_cut: bool) -> str:
    """How a call ended: `right`, `told …`, `cut`, or else `wrong`.

    Args:
        right: what an undisturbed one brings; a door may put other ends to the parts of it.
        may_be_cut: something on its way has died, so that nobody was left to say why.
    """
    words, right_words = " ".join(heard.texts).split(), " ".join(right).split()
    is_beginning = words == right_words[: len(words)]
    if heard.told is not None:
        return f"told {heard.told}" if is_beginning else "wrong"
    if heard.cut is not None:
        return "cut" if is_beginning and may_be_cut else "wrong"
    return "right" if words == right_words else "wrong"


def run(duration_s: float, seed: int, speech: bytes) -> Report:
    """Make chaos for so long; `speech` has to have the same text at every rate that a door brings it to."""
    fleet = Fleet(SERVERS, GATEWAYS, ENGINES, _SETTINGS)
    with contextlib.closing(fleet), fleet.balancer([gateway.port for gateway in fleet.gateways]) as balancer:
        doors = _doors(fleet, balancer)
        clips = [_undisturbed(doors, pcm) for pcm in cut(speech)]
        monkey = FleetMonkey(fleet, balancer, _HANG_TIMEOUT_S, seed)
        started_s = time.monotonic()
        callers, strangers = (
            Callers(doors, clips, monkey, seed),
            crowd.Crowd(balancer.tcp, [clip.over_tcp for clip in clips], seed),
        )
        strangers.start(speakers=0, leavers=1, strangers=1)
        time.sleep(duration_s)
        monkey.stop()
        callers.stop()
        strangers.stop()
        minutes = (time.monotonic() - started_s) / 60
        outcomes = {**callers.outcomes, "others": strangers.outcomes}
        faults = monkey.failures + _faults(fleet, doors, clips)
    return Report(minutes, outcomes, monkey.deeds, callers.wrongs + strangers.wrongs, faults)


def _doors(fleet: Fleet, balancer: Balancer) -> List[Door]:
    behind = [Door(name, caller, [balancer.http]) for name, caller in BEHIND_THE_BALANCER.items()]
    return [
        Door("tcp", over_tcp, [balancer.tcp]),
        *behind,
        Door("wyoming", over_wyoming, fleet.wyoming_ports),
    ]


def _undisturbed(doors: List[Door], pcm: bytes) -> Clip:
    heard = {door.name: call(door.caller, door.ports[0], pcm, _UNHURRIED) for door in doors}
    whole = {name: " ".join(one.texts) for name, one in heard.items()}
    assert set(whole.values()) == {whole["tcp"]}, whole
    assert all(one.told is one.cut is None for one in heard.values()), heard
    return Clip(pcm, {name: one.texts for name, one in heard.items()})


def _faults(fleet: Fleet, doors: List[Door], clips: List[Clip]) -> List[str]:
    """What is left when the harm has ended."""
    faults: List[str] = []
    for server in fleet.servers:
        wait_until_all_sleep(server)
    for door in doors:
        heard = call(door.caller, door.ports[0], clips[0].pcm, _UNHURRIED)
        if judged(heard, clips[0].texts[door.name], False) != "right":
            faults.append(f"afterwards, {door.name}: {heard}")
    processes: List[Tuple[str, ServerProcess]] = [("server", server) for server in fleet.servers]
    processes += [("gateway", gateway) for gateway in fleet.gateways]
    for name, process in processes:
        faults += [f"{name}: {line}" for line in process.lines if "Traceback" in line]
        status = process.stop()
        _, left = psutil.wait_procs(relatives(process.process.pid), timeout=10)
        if status or left:
            faults.append(f"a {name} stopped with status {status} and left {left}")
    return faults


def main(arguments: Optional[List[str]] = None) -> int:
    """The long run. Its figures are in docs/reliability.md."""
    parser = argparse.ArgumentParser("python -m tests.chaos.fleet", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="of chaos (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the order of events (default: the time)")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    report = run(60 * options.minutes, options.seed, clip_pcm())
    print(report, flush=True)
    return 1 if report.wrongs or report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
