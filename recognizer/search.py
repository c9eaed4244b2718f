"""openai-whisper's beam search and its rule of forbidden tokens, without a call to torch for each candidate."""

from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn.functional import log_softmax
from whisper.decoding import BeamSearchDecoder, LogitFilter

_Sequence = Tuple[int, ...]
Choose = Callable[[Tensor, int], Tuple[Tensor, Tensor]]
_GROUP = 64  # values


class BeamSearch(BeamSearchDecoder):  # type: ignore[misc]
    """openai-whisper's beam search of one utterance; the best tokens of all hypotheses are asked for at once.

    Args:
        beam_size, eot, inference: as of openai-whisper's.
        choose: as `best`.
    """

    def __init__(self, beam_size: int, eot: int, inference: Any, choose: Optional[Choose] = None) -> None:
        super().__init__(beam_size, eot, inference)
        self._choose = choose or best

    finished_sequences: Optional[List[Dict[_Sequence, float]]]

    def update(self, tokens: Tensor, logits: Tensor, sum_logprobs: Tensor) -> Tuple[Tensor, bool]:
        """One more token for `tokens` (beam_size, length), given `logits` (beam_size, n_vocab).

        Returns the hypotheses that go on, and whether enough have ended. `sum_logprobs` (beam_size,) is brought up to
        date.
        """
        if self.finished_sequences is None:
            self.finished_sequences = [{}]
        values, indices = self._choose(logits, self.beam_size + 1)
        totals = (sum_logprobs[:, None] + values).tolist()
        scores: Dict[_Sequence, float] = {}
        sources: Dict[_Sequence, int] = {}
        prefixes = tokens.tolist()
        for row, (prefix, candidates) in enumerate(zip(prefixes, indices.tolist())):
            for token, total in zip(candidates, totals[row]):
                sequence = (*prefix, token)
                scores[sequence], sources[sequence] = total, row
        kept, ended = self._rank(scores)
        for sequence in ended[: self.max_candidates - len(self.finished_sequences[0])]:
            self.finished_sequences[0][sequence] = scores[sequence]
        sum_logprobs[: len(kept)] = torch.tensor([scores[sequence] for sequence in kept])
        rows = [sources[sequence] for sequence in kept]
        self.inference.go_on(rows, min(_n_common(prefixes[row], prefixes[source]) for row, source in enumerate(rows)))
        return torch.tensor(kept, device=tokens.device), len(self.finished_sequences[0]) >= self.max_candidates

    def _rank(self, scores: Dict[_Sequence, float]) -> Tuple[List[_Sequence], List[_Sequence]]:
        """The best that go on, as many as the beam is wide, and those better than the last of them that have ended."""
        kept: List[_Sequence] = []
        ended: List[_Sequence] = []
        for sequence in sorted(scores, key=lambda sequence: scores[sequence], reverse=True):
            (ended if sequence[-1] == self.eot else kept).append(sequence)
            if len(kept) == self.beam_size:
                break
        return kept, ended


def _n_common(one: List[int], other: List[int]) -> int:
    """How many tokens they begin with alike."""
    return next((index for index, (a, b) in enumerate(zip(one, other)) if a != b), len(one))


def best(logits: Tensor, k: int) -> Tuple[Tensor, Tensor]:
    """The k best log-probabilities of each row (n, n_vocab) and their tokens, best first: (n, k) each."""
    return top(log_softmax(logits, dim=-1), k)


def top(x: Tensor, k: int) -> Tuple[Tensor, Tensor]:
    """As `x.topk(k)` of rows, values and indices; `topk` compares all, which of a vocabulary are many.

    The k best are in those k groups whose own best are the best.
    """
    n, length = x.shape
    n_groups = length // _GROUP
    if n_groups < k:
        best = x.topk(k)
        return best.values, best.indices
    grouped = x[:, : n_groups * _GROUP].view(n, _GROUP, n_groups)
    groups = grouped.amax(1).topk(k).indices
    candidates = grouped.gather(2, groups[:, None].expand(n, _GROUP, k)).flatten(1)
    found = torch.cat((candidates, x[:, n_groups * _GROUP :]), 1).topk(k)
    place = found.indices
    in_group = torch.div(place, k, rounding_mode="floor") * n_groups + groups.gather(1, place % k)
    return found.values, torch.where(place < _GROUP * k, in_group, place + _GROUP * (n_groups - k))


class Suppress(LogitFilter):  # type: ignore[misc]
    """openai-whisper's `SuppressTokens`, with the list of `tokens` turned into a tensor once."""

    def __init__(self, tokens: Sequence[int], device: torch.device) -> None:
        self._tokens = torch.tensor(tokens, device=device)

    def apply(self, logits: Tensor, tokens: Tensor) -> None:
        """Forbid them in `logits` (n, n_vocab)."""
        logits.index_fill_(1, self._tokens, -torch.inf)
