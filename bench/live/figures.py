"""Sessions that are over → the figures of a row."""

from collections import Counter
from itertools import chain
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from bench.live.compare import Comparison, Final, Latency, Piece, compare, mean, share
from bench.live.rows import Row
from bench.live.utterances import Utterance, differences, gather
from bench.load import plan
from bench.load.clients import LiveClient, error_rate, failures
from bench.load.plan import BYTES_PER_S, Stream, Tally, Window, percentile
from bench.load.usage import Usage
from protocol.data import SessionOptions
from util import Result

Align = Callable[[Stream, Result, str], List[Piece]]  # the words of a result in a language, in seconds of the stream


class Turn(NamedTuple):
    """The sessions of all clients at one time; all ask for the same."""

    asked: SessionOptions
    clients: List[LiveClient]
    window: Window
    usage: Usage
    lags_ms: List[float]


class Judged(NamedTuple):
    """An utterance that ended within the window, held against its final text; `began_s` in the clock of arrivals."""

    recording: str
    began_s: float
    utterance: Utterance
    comparison: Comparison

    def trace(self) -> Dict[str, Any]:
        """All of it for JSON, in seconds after the first of its sound was sent; latencies from the ends of words."""
        result = self.utterance.result
        return {
            "recording": self.recording,
            "start": self.utterance.start_s,
            "text": None if result is None else result.result.text,
            "arrival": None if result is None else self._after(result.arrival_s),
            "shown": [[self._after(one.arrival_s), one.stable, one.unstable] for one in self.utterance.shown],
            "words": [self._word(latency) for latency in self.comparison.latencies],
        }

    def _word(self, latency: Latency) -> Dict[str, Any]:
        times_s = {"end": self._after(latency.word.end_s), "stable": latency.stable_s, "shown": latency.shown_s}
        return {"word": latency.word.text, **{key: round(time_s, 3) for key, time_s in times_s.items()}}

    def _after(self, time_s: float) -> float:
        return round(time_s - self.began_s, 3)


def summed_up(turns: Sequence[Turn], align: Align) -> Tuple[Row, List[Judged]]:
    """The row of turns with live text and without, and its utterances.

    The first turn with it and the first without are of clients that sent the same, and so on.
    """
    language = str(turns[0].asked.language)
    live, without = (_clients(turns, partial) for partial in (True, False))
    judged, faults = _judge([turn for turn in turns if turn.asked.partial], align, language)
    whole = Comparison.joined([one.comparison for one in judged])
    shown = [one.utterance for one in judged if one.utterance.shown]
    speech_s = sum(one.utterance.end_s - one.utterance.start_s for one in judged)
    stable_s = [latency.stable_s for latency in whole.latencies]
    shown_s = [latency.shown_s for latency in whole.latencies]
    results, results_without = _tally(turns, True).latencies_ms, _tally(turns, False).latencies_ms
    row = Row(
        language=language,
        clients=len(turns[0].clients),
        utterances=len(judged),
        words=len(whole.latencies),
        stable_mean=mean(stable_s),
        stable_median=percentile(stable_s, 50),
        stable_p95=percentile(stable_s, 95),
        shown_mean=mean(shown_s),
        shown_p95=percentile(shown_s, 95),
        coverage=share(whole.covered_tokens, whole.final_tokens),
        retraction=share(whole.retracted_tokens, whole.stable_tokens),
        shrinks=whole.shrinks,
        faults=faults,
        unanswered=sum(utterance.result is None for utterance in shown),
        partials_per_s=sum(len(utterance.shown) for utterance in shown) / speech_s if speech_s else None,
        results=len(results),
        result_median_ms=percentile(results, 50),
        result_p95_ms=percentile(results, 95),
        results_without=len(results_without),
        result_median_without_ms=percentile(results_without, 50),
        result_p95_without_ms=percentile(results_without, 95),
        error_rate=error_rate(live, language),
        error_rate_without=error_rate(without, language),
        changed=_changed(live, without),
        cores=_cores(turns, True),
        cores_without=_cores(turns, False),
        failures=failures([*live, *without]),
        late_packets=sum(plan.lag(turn.lags_ms)[1] for turn in turns),
    )
    return row, judged


def _clients(turns: Sequence[Turn], partial: bool) -> List[LiveClient]:
    return list(chain(*(turn.clients for turn in turns if turn.asked.partial is partial)))


def _tally(turns: Sequence[Turn], partial: bool) -> Tally:
    chosen = [turn for turn in turns if turn.asked.partial is partial]
    return Tally.joined([client.tally(turn.window) for turn in chosen for client in turn.clients])


def _cores(turns: Sequence[Turn], partial: bool) -> Optional[float]:
    cores = (turn.usage.server_cores for turn in turns if turn.asked.partial is partial)
    return mean([one for one in cores if one is not None])


def _changed(live: Sequence[LiveClient], without: Sequence[LiveClient]) -> int:
    """Results that differ, in sessions of which both ended well."""
    pairs = [(one, other) for one, other in zip(live, without) if one.failure is None and other.failure is None]
    return sum(differences(*([heard.result for heard in client.heard] for client in pair)) for pair in pairs)


# --- utterances ------------------------------------------------------------------------------


def _judge(turns: Sequence[Turn], align: Align, language: str) -> Tuple[List[Judged], Dict[str, int]]:
    """All that ended within the windows; and the faults of the whole sessions."""
    judged: List[Judged] = []
    faults: Counter[str] = Counter()
    for turn in turns:
        for client in turn.clients:
            utterances, broken = gather(client.arrived)
            faults.update(broken)
            for utterance, following in zip(utterances, [*utterances[1:], None]):
                if turn.window.holds(_sent_s(client, utterance.end_s)):
                    final = _final(client, utterance, following, align, language)
                    comparison = compare(utterance.shown, final, language)
                    recording = plan.placed_at(client.stream.placed, utterance.end_s).recording.name
                    judged.append(Judged(recording, _sent_s(client, utterance.start_s), utterance, comparison))
    return judged, dict(faults)


def _final(
    client: LiveClient, utterance: Utterance, following: Optional[Utterance], align: Align, language: str
) -> Optional[Final]:
    if utterance.result is None:
        return None
    result, arrival_s = utterance.result
    words = [
        Piece(text, _sent_s(client, start_s), _sent_s(client, end_s))
        for text, start_s, end_s in align(client.stream, result, language)
    ]
    next_result = following.result if utterance.was_cut and following is not None else None
    return Final(words, arrival_s, "" if next_result is None else next_result.result.text)


def _sent_s(client: LiveClient, place_s: float) -> float:
    """When the sample at that place of the client's stream was sent; when its last one was, for a place behind it."""
    sent_s = client.known_s([max(1, round(place_s * BYTES_PER_S))])
    return sent_s[0] if sent_s else client.sent_s[-1]
