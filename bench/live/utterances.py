"""Which packets of a session belong to which utterance, and which of them should not have come. Pure."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence, Tuple, Union

from bench.live.compare import Shown
from bench.load.plan import Arrived, Heard
from protocol.data import Cause, Partial, UtteranceDone
from util import Result

_SAME_START_S = 0.06  # times may be rounded to tenths


@dataclass
class Utterance:
    """What came of one; `result` is None where no text did."""

    start_s: float
    end_s: float  # as far as it is known
    shown: List[Shown] = field(default_factory=list)
    result: Optional[Heard] = None
    done: bool = False

    @property
    def was_cut(self) -> bool:
        """Whether it was too long, so that speech may go on behind it."""
        detail = self.result.result.detail if self.result else None
        return detail is not None and detail.cause is Cause.LENGTH


def gather(arrived: Sequence[Arrived]) -> Tuple[List[Utterance], Dict[str, int]]:
    """The utterances of a session in order, and how many packets broke a rule, by rule."""
    found: List[Utterance] = []
    faults: Counter[str] = Counter()
    for said, arrival_s in arrived:
        if isinstance(said, Partial):
            utterance = _utterance(found, said)
            utterance.shown.append(Shown(arrival_s, said.stable, said.unstable))
            faults.update(_faults(said, utterance))
        elif isinstance(said, Result):
            utterance = _utterance(found, said)
            faults["second result"] += utterance.result is not None
            utterance.result = Heard(said, arrival_s)
        elif isinstance(said, UtteranceDone) and said.end_s > said.start_s:
            utterance = _utterance(found, said)
            faults["event that contradicts the result"] += said.has_text != (utterance.result is not None)
            utterance.done = True
    return found, {kind: count for kind, count in faults.items() if count}


def _utterance(found: List[Utterance], said: Union[Partial, Result, UtteranceDone]) -> Utterance:
    """The one that starts there: known, or new."""
    for utterance in reversed(found):
        if abs(utterance.start_s - said.start_s) <= _SAME_START_S:
            utterance.end_s = said.end_s
            return utterance
    found.append(Utterance(said.start_s, said.end_s))
    return found[-1]


def _faults(partial: Partial, utterance: Utterance) -> List[str]:
    kinds = {
        "late": utterance.result is not None or utterance.done,
        "empty": not (partial.stable or partial.unstable),
        "with a tab": "\t" in partial.stable + partial.unstable,
    }
    return [kind for kind, wrong in kinds.items() if wrong]


def differences(some: Sequence[Result], others: Sequence[Result]) -> int:
    """How many results of the same sound differ in time or text."""
    one, other = (Counter(result[:3] for result in results) for results in (some, others))
    return max(sum((one - other).values()), sum((other - one).values()))
