"""The searches of openai-whisper's decoding loop as operations on tensors of fixed shapes, for one utterance.

Nothing here waits for the device, and nothing depends on how far a search has come: so a step of it can be captured
(graphs.py). What was chosen is kept as tokens and where each came from, and read once, at the end.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import List, Optional, Tuple

import torch
from torch import Tensor
from torch.nn.functional import log_softmax


@dataclass(frozen=True)
class Chosen:
    """What a search ends with.

    Attributes:
        rows: the tokens of each hypothesis that goes on.
        totals: its log-probability.
        ended: tokens, without the one that ends them, and log-probability of each that has ended, in that order.
    """

    rows: List[List[int]]
    totals: List[float]
    ended: List[Tuple[List[int], float]] = field(default_factory=list)


class TensorSearch(ABC):
    """Static memory of a search, and how it goes on.

    Args:
        rows: hypotheses.
        eot: the token that ends a text.
        n_ctx: the most tokens.
        device: where the memory is.

    Attributes:
        rows: as given.
        own: (rows,) the numbers of the rows.
        tokens: (rows,) the last of each hypothesis.
        is_over: (1,) whether no more need be chosen. Going on does not change what was found.
    """

    def __init__(self, rows: int, eot: int, n_ctx: int, device: torch.device) -> None:
        self.rows = rows
        self._eot = eot
        self.own = torch.arange(rows, device=device)
        self.tokens = torch.zeros(rows, dtype=torch.long, device=device)
        self.is_over = torch.zeros(1, dtype=torch.bool, device=device)
        self._totals = torch.zeros(rows, device=device)
        self._n_chosen = torch.zeros(1, dtype=torch.long, device=device)
        self._history = torch.zeros(2, n_ctx, rows, dtype=torch.long, device=device)  # tokens, and the rows before

    @property
    def state(self) -> List[Tensor]:
        """The memory that `choose` reads and changes."""
        return [self.tokens, self.is_over, self._totals, self._n_chosen]

    def begin(self) -> None:
        """Another utterance."""
        for tensor in self.state:
            tensor.zero_()

    @abstractmethod
    def choose(self, logits: Tensor) -> Tensor:
        """One more token for each hypothesis, by its `logits` (rows, n_vocab); returns the rows they came from."""

    def packed(self, n_chosen: int) -> Tensor:
        """What `unpacked` needs after so many tokens, in one tensor: float64 holds each number as it is."""
        return torch.cat([part.flatten().double() for part in (self._history[:, :n_chosen], *self._found())])

    def unpacked(self, packed: Tensor, n_chosen: int) -> Chosen:
        """What was found; `packed` on the host."""
        n_history = 2 * n_chosen * self.rows
        history = packed[:n_history].long().view(2, n_chosen, self.rows).tolist()
        return self._told(packed[n_history:].tolist(), history, n_chosen)

    def _found(self) -> List[Tensor]:
        return [self._totals]

    def _told(self, found: List[float], history: List[List[List[int]]], n_chosen: int) -> Chosen:
        return Chosen([_traced(history, n_chosen, row) for row in range(self.rows)], found[: self.rows])

    def _write(self, tokens: Tensor, sources: Tensor) -> None:
        self.tokens.copy_(tokens)
        self._history.index_copy_(1, self._n_chosen, torch.stack((tokens, sources))[:, None])
        self._n_chosen += 1


def _traced(history: List[List[List[int]]], n_chosen: int, row: int) -> List[int]:
    """The tokens of what is in `row` after so many."""
    tokens = []
    for index in reversed(range(n_chosen)):
        tokens.append(history[0][index][row])
        row = history[1][index][row]
    return tokens[::-1]


class BeamChoice(TensorSearch):
    """`whisper.decoding.BeamSearchDecoder` (search.BeamSearch)."""

    def __init__(self, rows: int, eot: int, n_ctx: int, device: torch.device) -> None:
        super().__init__(rows, eot, n_ctx, device)
        self._n_ended = torch.zeros(1, dtype=torch.long, device=device)
        # Of each that has ended: tokens chosen before, the row they are in, the total. One more for what is too many.
        self._ended = torch.zeros(rows + 1, 2, dtype=torch.long, device=device)
        self._ended_totals = torch.zeros(rows + 1, device=device)

    @property
    def state(self) -> List[Tensor]:
        """As of TensorSearch."""
        return [*super().state, self._n_ended]

    def begin(self) -> None:
        """As of TensorSearch; all hypotheses are the same then, so one alone is gone on from."""
        super().begin()
        self._totals[1:] = -torch.inf

    def choose(self, logits: Tensor) -> Tensor:
        """As of TensorSearch."""
        n_each = self.rows + 1
        best = log_softmax(logits, dim=-1).topk(n_each)
        totals, order = (self._totals[:, None] + best.values).flatten().sort(descending=True, stable=True)
        # A row has one end at most, so among twice as many as go on there are enough.
        totals, order = totals[: 2 * self.rows], order[: 2 * self.rows]
        tokens, sources = best.indices.flatten()[order], order.div(n_each, rounding_mode="floor")
        is_end = tokens == self._eot
        self._keep_ended(is_end, totals, sources)
        going_on = is_end.sort(stable=True).indices[: self.rows]
        self._totals.copy_(totals[going_on])
        sources = sources[going_on]
        self._write(tokens[going_on], sources)
        return sources

    def _keep_ended(self, is_end: Tensor, totals: Tensor, sources: Tensor) -> None:
        """Those better than the last that goes on, as many as there is room for."""
        counts = is_end & (is_end.logical_not().cumsum(0) < self.rows)
        places = self._n_ended + counts.cumsum(0) - 1
        places = places.masked_fill(counts.logical_not(), self.rows).clamp(max=self.rows)
        self._ended.index_copy_(0, places, torch.stack((self._n_chosen.expand_as(sources), sources), 1))
        self._ended_totals.index_copy_(0, places, totals)
        self._n_ended += counts.sum()
        self.is_over.copy_(self._n_ended >= self.rows)

    def _found(self) -> List[Tensor]:
        return [*super()._found(), self._n_ended, self._ended_totals[: self.rows], self._ended[: self.rows]]

    def _told(self, found: List[float], history: List[List[List[int]]], n_chosen: int) -> Chosen:
        going_on = super()._told(found, history, n_chosen)
        n_ended, totals, places = int(found[self.rows]), found[self.rows + 1 :], found[2 * self.rows + 1 :]
        ended = [
            (_traced(history, int(places[2 * index]), int(places[2 * index + 1])), totals[index])
            for index in range(min(n_ended, self.rows))
        ]
        return Chosen(going_on.rows, going_on.totals, ended)


class GreedyChoice(TensorSearch):
    """`whisper.decoding.GreedyDecoder` at temperature 0."""

    def choose(self, logits: Tensor) -> Tensor:
        """As of TensorSearch."""
        was_over = self.tokens == self._eot
        chosen = self._pick(logits)
        logprobs = log_softmax(logits, dim=-1).gather(1, chosen[:, None])[:, 0]
        self._totals += logprobs.masked_fill(was_over, 0.0)
        chosen = chosen.masked_fill(was_over, self._eot)
        self._write(chosen, self.own)
        self.is_over.copy_((chosen == self._eot).all())
        return self.own

    def _pick(self, logits: Tensor) -> Tensor:
        return logits.argmax(dim=-1)


class SampledChoice(GreedyChoice):
    """`whisper.decoding.GreedyDecoder` at a temperature."""

    def __init__(self, rows: int, eot: int, n_ctx: int, device: torch.device) -> None:
        super().__init__(rows, eot, n_ctx, device)
        self._temperature = torch.ones(1, device=device)

    def heat(self, temperature: float) -> None:
        """From now on, draw at this temperature."""
        self._temperature.fill_(temperature)

    def _pick(self, logits: Tensor) -> Tensor:
        """As `torch.distributions.Categorical.sample` draws, which waits for the device to check its arguments."""
        heated = logits / self._temperature
        probabilities = (heated - heated.logsumexp(dim=-1, keepdim=True)).softmax(dim=-1)
        return (probabilities / probabilities.new_empty(probabilities.shape).exponential_(1)).argmax(dim=-1)


def search_for(
    beam_size: Optional[int], temperature: float, eot: int, n_ctx: int, device: torch.device
) -> TensorSearch:
    """The search that openai-whisper makes at that temperature."""
    if beam_size is not None:
        return BeamChoice(beam_size, eot, n_ctx, device)
    return GreedyChoice(1, eot, n_ctx, device) if temperature == 0 else SampledChoice(1, eot, n_ctx, device)
