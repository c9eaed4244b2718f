"""What clients of the load test say and when, as far as a server's work depends on it."""

from typing import List, NamedTuple, Sequence, Tuple

from bench.load import plan
from bench.load.plan import CONFIG, client_random
from bench.recordings import Recording

_FRAME_S = CONFIG.audio.frame_duration_ms / 1000
_PAUSE_FRAMES = 3  # of silence, after which an engine begins ahead of the end


class Pause(NamedTuple):
    """Silence in an utterance or behind it; seconds.

    Attributes:
        begin_s: when the engine may begin with what was said so far.
        end_s: when speech goes on, or the utterance is over.
    """

    begin_s: float
    end_s: float


class Utterance(NamedTuple):
    """Seconds from the client's first byte.

    Attributes:
        start_s: of its first voiced frame.
        over_s: when the engine knows that it has ended.
        is_cut: by its length.
        pauses: those that last long enough for the engine to begin; the last one is the closing silence.
    """

    start_s: float
    over_s: float
    is_cut: bool
    pauses: Tuple[Pause, ...]

    def shifted(self, by_s: float) -> "Utterance":
        """The same, so much later."""
        pauses = tuple(Pause(begin_s + by_s, end_s + by_s) for begin_s, end_s in self.pauses)
        return Utterance(self.start_s + by_s, self.over_s + by_s, self.is_cut, pauses)


def make(recordings: Sequence[Recording], client: int, seconds: float, seed: int = 1) -> Tuple[float, List[Utterance]]:
    """When a client of the load test begins, and what it says."""
    chance = client_random(seed, client)
    offset_s, duration_s = plan.begin(seconds, chance)
    return offset_s, utterances(plan.voiced_frames(plan.make_stream(recordings, duration_s, chance).pcm))


def utterances(voiced: Sequence[bool]) -> List[Utterance]:
    """What is said in a stream of frames."""
    found = []
    for point in plan.endpoints_of(voiced):
        over_s = point.known_bytes / plan.BYTES_PER_S
        first, last = round(point.start_s / _FRAME_S), round(over_s / _FRAME_S)
        found.append(Utterance(point.start_s, over_s, point.cut, tuple(_pauses(voiced, first, last))))
    return found


def _pauses(voiced: Sequence[bool], first: int, last: int) -> List[Pause]:
    found = []
    silent = 0
    for frame in range(first, last + 1):
        if frame < last and not voiced[frame]:
            silent += 1
            continue
        if silent >= _PAUSE_FRAMES:
            found.append(Pause((frame - silent + _PAUSE_FRAMES) * _FRAME_S, frame * _FRAME_S))
        silent = 0
    return found
