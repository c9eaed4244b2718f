"""What each client of a load test sends and when, and what its results are held against. Knows no socket or clock.

A client streams recordings one after the other with silence between. Where its utterances end is computed here, by
WebRTC VAD over exactly what it sends, so that a server is not asked when it should have answered.
"""

import random
from bisect import bisect_left
from itertools import chain
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import webrtcvad

from bench.recordings import Recording
from boundary.settings import EngineSettings
from engine.endpointer import Endpointer
from protocol.data import Partial, UtteranceEvent
from util import Result

STAGGER_S = 6.0  # within which the clients begin, each at its own time: about one recording and its silence
NEIGHBOUR_S = 600.0  # of audio, at least, that the client which does not speak in real time sends over and over
_TAIL_S = 1.0  # of audio, at least, behind what counts, so that all clients are there until its end is measured
_LATE_MS = 30.0  # of the load generator, that spoil a measurement
_SILENCE_SHARE = 0.25  # of a recording's length is silent after it: speech is 80 % of the time
_SILENCE_S = 0.9  # at least, so that every utterance ends: 16 frames of 30 ms, and 10 or so that VAD still calls voiced
_SAME_END_S = 0.15  # a result says its times in tenths of a second

CONFIG = EngineSettings()
BYTES_PER_S = CONFIG.audio.bytes_per_second


class Placed(NamedTuple):
    """A recording in a stream, with the silence after it; seconds from the stream's first byte."""

    recording: Recording
    start_s: float
    end_s: float


class Stream(NamedTuple):
    """What a client sends, and what is in it."""

    pcm: bytes
    placed: List[Placed]


class EndPoint(NamedTuple):
    """Where an utterance ends.

    Attributes:
        start_s: of its first voiced frame.
        end_s: of its last voiced frame, as a result says it.
        known_bytes: of the stream after which a listener knows: the silent frames that end it are complete.
        cut: it was too long and is cut, no silence ended it.
    """

    start_s: float
    end_s: float
    known_bytes: int
    cut: bool


class Heard(NamedTuple):
    """A result and when it arrived (seconds of the load generator's clock)."""

    result: Result
    arrival_s: float


class Arrived(NamedTuple):
    """Anything that the server says of what it hears, and when it arrived (seconds of the load generator's clock)."""

    said: Union[Partial, Result, UtteranceEvent]
    arrival_s: float


class Window(NamedTuple):
    """The time that counts, in which all clients stream (seconds of the load generator's clock)."""

    start_s: float
    end_s: float

    def holds(self, time_s: float) -> bool:
        """Whether it is within."""
        return self.start_s <= time_s < self.end_s


class Tally(NamedTuple):
    """The results of one client or several whose utterances ended within the window.

    Attributes:
        latencies_ms: from sending the packet that completes the silence after an utterance to its result.
        without_result: utterances that silence ended and that brought no result, as when no text was found.
        cut: utterances that were too long and have no latency, as no silence ended them.
        unmatched: results whose time is that of no utterance, in the whole session.
    """

    latencies_ms: List[float]
    without_result: int
    cut: int
    unmatched: int

    @classmethod
    def joined(cls, tallies: Sequence["Tally"]) -> "Tally":
        """All of them as one."""
        latencies_ms, *counts = zip(*tallies)
        return cls(list(chain(*latencies_ms)), *map(sum, counts))


# --- what is sent ----------------------------------------------------------------------------


def client_random(seed: int, client: int) -> random.Random:
    """The chance of one client: the same whatever the number of clients."""
    return random.Random(f"{seed} {client}")


def begin(seconds: float, chance: random.Random) -> Tuple[float, float]:
    """When a client begins, in seconds after the first one may, and how long what it sends has to last at least."""
    offset_s = chance.uniform(0, STAGGER_S)
    return offset_s, STAGGER_S - offset_s + seconds + _TAIL_S


def make_stream(recordings: Sequence[Recording], duration_s: float, chance: random.Random) -> Stream:
    """Whole recordings, each with silence after it, in an order of its own, until they last `duration_s`."""
    pcm = bytearray()
    placed: List[Placed] = []
    order: List[Recording] = []
    while len(pcm) < duration_s * BYTES_PER_S:
        if not order:
            order = chance.sample(list(recordings), len(recordings))
        recording = order.pop()
        start_bytes = len(pcm)
        pcm += recording.pcm + bytes(silence_bytes(len(recording.pcm)))
        placed.append(Placed(recording, start_bytes / BYTES_PER_S, len(pcm) / BYTES_PER_S))
    return Stream(bytes(pcm), placed)


def make_silence(duration_s: float) -> Stream:
    """Zeros only."""
    return Stream(bytes(2 * int(duration_s * BYTES_PER_S / 2)), [])


def silence_bytes(recording_bytes: int) -> int:
    """How much silence follows a recording of that length."""
    samples = max(recording_bytes / 2 * _SILENCE_SHARE, _SILENCE_S * BYTES_PER_S / 2)
    return 2 * int(samples)


def due_s(start_s: float, packet: int, packet_ms: int) -> float:
    """When a packet is to be sent: counted from the start, so that nothing adds up."""
    return start_s + packet * packet_ms / 1000


def packet_bytes(packet_ms: int) -> int:
    """Of audio in a packet of that length."""
    return BYTES_PER_S * packet_ms // 1000


# --- what should come back -------------------------------------------------------------------


def voiced_frames(pcm: bytes) -> List[bool]:
    """Of each frame of a stream whether it is voiced, as VAD with the server's defaults says."""
    frame_bytes, rate = CONFIG.audio.frame_bytes, CONFIG.audio.sample_rate
    vad = webrtcvad.Vad(CONFIG.vad.mode)
    offsets = range(0, len(pcm) - frame_bytes + 1, frame_bytes)
    return [vad.is_speech(pcm[offset : offset + frame_bytes], rate) for offset in offsets]


def find_endpoints(pcm: bytes) -> List[EndPoint]:
    """The ends of all utterances of a stream, as VAD with the server's defaults finds them."""
    return endpoints_of(voiced_frames(pcm))


def endpoints_of(voiced: Sequence[bool]) -> List[EndPoint]:
    """The same of the frames of a stream."""
    frame_s = CONFIG.audio.frame_duration_ms / 1000
    endpointer = Endpointer(CONFIG.vad, CONFIG.audio.frame_duration_ms)
    found: List[EndPoint] = []
    for frames, is_voiced in enumerate(voiced, 1):
        segment = endpointer.feed(is_voiced)
        if segment is not None:
            silent = frames - segment.end
            cut = silent < CONFIG.vad.silence_threshold or any(voiced[segment.end : frames])
            known_bytes = frames * CONFIG.audio.frame_bytes
            found.append(EndPoint(segment.start * frame_s, segment.end * frame_s, known_bytes, cut))
    return found


def match(ends_s: Sequence[float], result_ends_s: Sequence[float]) -> Dict[int, int]:
    """Which end (its index) belongs to which result (its index): the nearest that is near enough and not taken."""
    matched: Dict[int, int] = {}
    for number, end_s in enumerate(result_ends_s):
        near = bisect_left(ends_s, end_s)
        free = [i for i in (near - 1, near) if 0 <= i < len(ends_s) and i not in matched]
        if free:
            nearest = min(free, key=lambda i: abs(ends_s[i] - end_s))
            if abs(ends_s[nearest] - end_s) <= _SAME_END_S:
                matched[nearest] = number
    return matched


def tally(endpoints: Sequence[EndPoint], heard: Sequence[Heard], known_s: Sequence[float], window: Window) -> Tally:
    """Hold the results of one client against the ends of its utterances.

    `known_s` says when the packet that completes each end point was sent; it is shorter where a session broke off.
    """
    matched = match([point.end_s for point in endpoints], [one.result.end_s for one in heard])
    counted = [i for i, time_s in enumerate(known_s) if window.holds(time_s)]
    ended = [i for i in counted if not endpoints[i].cut]
    latencies_ms = [1000 * (heard[matched[i]].arrival_s - known_s[i]) for i in ended if i in matched]
    return Tally(latencies_ms, len(ended) - len(latencies_ms), len(counted) - len(ended), len(heard) - len(matched))


def placed_at(placed: Sequence[Placed], time_s: float) -> Placed:
    """The recording in which that time of the stream lies, or the silence after it."""
    return placed[min(bisect_left([one.end_s for one in placed], time_s), len(placed) - 1)]


def texts(placed: Sequence[Placed], heard: Sequence[Heard]) -> List[str]:
    """What was written down of each recording: the texts of all results whose middle lies in it."""
    parts: List[List[str]] = [[] for _ in placed]
    ends_s = [one.end_s for one in placed]
    for one in heard:
        place = bisect_left(ends_s, (one.result.start_s + one.result.end_s) / 2)
        if place < len(parts):
            parts[place].append(one.result.text)
    return [" ".join(part) for part in parts]


# --- numbers ---------------------------------------------------------------------------------


def percentile(values: Sequence[float], percent: float) -> Optional[float]:
    """The smallest value that `percent` of all do not exceed; None of no values."""
    if not values:
        return None
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]


def lag(lags_ms: Sequence[float]) -> Tuple[float, int]:
    """Of how late packets were sent: the 95th percentile in ms, and how many were so late that it spoils things."""
    return percentile(lags_ms, 95) or 0.0, sum(1 for lag_ms in lags_ms if lag_ms > _LATE_MS)
