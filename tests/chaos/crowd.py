"""Clients of every kind, each in a thread of its own that begins one connection after the other."""

import contextlib
import random
import threading
import time
from collections import Counter
from typing import Callable, List, NamedTuple
from typing import Counter as CounterType

from protocol.packets import (
    MAGIC,
    ErrorCode,
    Header,
    Packet,
)
from tests.chaos.rubbish import rubbish
from tests.harness.leaving import LEAVINGS
from tests.harness.wire import BEGIN, END, FINISH, STATUS, Wire, audio_packets, results, user_packet

PATIENCE_S = 180.0  # of a speaker, for its results
TOLD = (ErrorCode.ENGINE_FAILED, ErrorCode.SERVER_TOO_BUSY)  # what may befall a session here


class Clip(NamedTuple):
    """Audio and the results that it has when nothing goes wrong."""

    pcm: bytes
    results: List[str]


class Crowd:
    """Counts how every session ends, in `outcomes`; what is wrong with one is in `wrongs`."""

    def __init__(self, port: int, clips: List[Clip], seed: int) -> None:
        self._port = port
        self._clips = clips
        self._seed = seed
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.outcomes: CounterType[str] = Counter()
        self.wrongs: List[str] = []
        self._threads: List[threading.Thread] = []

    def start(self, speakers: int, leavers: int, strangers: int) -> None:
        """So many of each."""
        kinds = [self._speak] * speakers + [self._leave] * leavers + [self._bother] * strangers
        for number, kind in enumerate(kinds):
            chance = random.Random(f"{self._seed}-{number}")
            thread = threading.Thread(target=self._repeat, args=(kind, chance), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Let everybody finish."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, kind: Callable[[random.Random], str], chance: random.Random) -> None:
        while not self._stopping.is_set():
            try:
                outcome = kind(chance)
            except OSError as error:
                outcome = f"wrong: {type(error).__name__}: {error}"
            with self._lock:
                self.outcomes[outcome.partition(":")[0]] += 1
                if outcome.startswith("wrong"):
                    self.wrongs.append(outcome)

    # --- who speaks

    def _speak(self, chance: random.Random) -> str:
        clip = chance.choice(self._clips)
        with Wire(self._port) as wire:
            wire.socket.settimeout(PATIENCE_S)
            sender = threading.Thread(target=_send, args=(wire, clip.pcm, chance), daemon=True)
            sender.start()
            packets = wire.read_all()
            sender.join()
        return _judge(packets, clip)

    # --- who goes away

    def _leave(self, chance: random.Random) -> str:
        clip = chance.choice(self._clips)
        with Wire(self._port) as wire:
            # When there is no engine, or it dies, there is nothing to leave.
            with contextlib.suppress(AssertionError, OSError):
                chance.choice(LEAVINGS)(wire, clip.pcm)
            time.sleep(chance.choice([0, 0, 0.01, 0.3]))
            if chance.random() < 0.5:
                wire.reset()
        return "left"

    # --- who sends rubbish

    def _bother(self, chance: random.Random) -> str:
        with Wire(self._port) as wire:
            wire.socket.settimeout(2)
            with contextlib.suppress(OSError):
                for piece in rubbish(chance, chance.choice(self._clips).pcm):
                    wire.send(piece)
                    time.sleep(chance.choice([0, 0, 0, 0.05]))
                wire.socket.recv(65536)
            if chance.random() < 0.5:
                wire.reset()
        return "strange"


def _send(wire: Wire, pcm: bytes, chance: random.Random) -> None:
    """A session, in packets of any size, at a pace between a microphone's and all at once."""
    size = chance.choice([333, 960, 960, 3200, 32000, 65535])
    speed = chance.choice([2, 4, 8, 1000])
    with contextlib.suppress(OSError):  # the reader sees what the server says
        wire.send(MAGIC + user_packet(f"speaker {chance.random()}") + BEGIN)
        for offset in range(0, len(pcm), size):
            wire.send(audio_packets(pcm[offset : offset + size], size))
            if chance.random() < 0.01:
                wire.send(STATUS)
            time.sleep(size / 32000 / speed)
        wire.send(FINISH)


def _judge(packets: List[Packet], clip: Clip) -> str:
    """`right`, `told: …` where the server said why not, else `wrong: …`."""
    heard, said = results(packets), [packet for packet in packets if packet.header is not Header.ENGINE_STATUS]
    if not said or said[-1] != END:
        return f"wrong: the end is missing: {said[-3:]}"
    errors = [packet.data.decode() for packet in said if packet.header is Header.ERROR]
    if not errors:
        return "right" if heard == clip.results else f"wrong: {heard} instead of {clip.results}"
    if heard != clip.results[: len(heard)]:
        return f"wrong: {heard} before {errors}, of {clip.results}"
    return f"told {errors[0]}" if errors[0].partition(":")[0] in TOLD else f"wrong: {errors}"
