"""The searches on tensors choose what openai-whisper's do, whatever the logits."""

from typing import Dict, List, Optional, Tuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from whisper.decoding import GreedyDecoder

from recognizer.search import BeamSearch
from recognizer.tensor_search import Chosen, SampledChoice, TensorSearch, search_for

N_VOCAB = 12
EOT = 7
BEGIN = (3, 1)
N_CTX = 16
CPU = torch.device("cpu")


class Memory:
    """Of the beam search's hypotheses: there is none here, as the model looks at their tokens."""

    def go_on(self, sources: List[int], n_common: int) -> None:
        pass


class Model:
    """Logits that depend on all tokens so far, so that a hypothesis that goes on from another's is found out."""

    def __init__(self, seed: int, eagerness: float, first_eot: bool) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._weights = torch.randn(N_CTX + len(BEGIN), N_VOCAB, N_VOCAB, generator=generator)
        self._eagerness, self._first_eot = eagerness, first_eot

    def logits(self, tokens: Tensor) -> Tensor:
        """(rows, length) → (rows, n_vocab)."""
        length = tokens.shape[1]
        logits = 2 * self._weights[torch.arange(length), tokens].sum(1)
        logits[:, EOT] += self._eagerness
        if length == len(BEGIN) and not self._first_eot:
            logits[:, EOT] = -torch.inf
        return logits


MODELS = st.builds(Model, st.integers(0, 10**6), st.sampled_from([-20.0, 0.0, 4.0, 8.0, 30.0]), st.booleans())
STEPS = st.integers(1, 12)


def run_tensors(search: TensorSearch, model: Model, steps: int, beyond: int) -> Tuple[Chosen, int]:
    """What is found in so many steps, or `beyond` more once it is over; and how many were made."""
    search.begin()
    rows = torch.tensor([BEGIN] * search.rows)
    n_chosen = 0
    while n_chosen < steps and (beyond or not search.is_over):
        beyond -= int(search.is_over)
        sources = search.choose(model.logits(rows))
        rows = torch.cat((rows[sources], search.tokens[:, None]), 1)
        n_chosen += 1
    return search.unpacked(search.packed(n_chosen), n_chosen), n_chosen


def run_beam(model: Model, beam_size: int, steps: int) -> Tuple[Dict[Tuple[int, ...], float], Tensor, Tensor]:
    search = BeamSearch(beam_size, EOT, Memory())
    tokens, totals, is_over = torch.tensor([BEGIN] * beam_size), torch.zeros(beam_size), False
    while steps and not is_over:
        tokens, is_over = search.update(tokens, model.logits(tokens), totals)
        steps -= 1
    assert search.finished_sequences is not None
    return search.finished_sequences[0], tokens, totals


@settings(deadline=None)
@given(MODELS, st.integers(1, 5), STEPS, st.integers(0, 4))
def test_a_beam_ends_with_what_the_beam_search_ends_with(model: Model, beam_size: int, steps: int, beyond: int) -> None:
    ended, tokens, totals = run_beam(model, beam_size, steps)
    chosen, n_chosen = run_tensors(search_for(beam_size, 0.0, EOT, N_CTX, CPU), model, steps, beyond)
    assert [(*BEGIN, *one, EOT) for one, _ in chosen.ended] == list(ended)
    assert [total for _, total in chosen.ended] == pytest.approx(list(ended.values()), abs=1e-5)
    if n_chosen == tokens.shape[1] - len(BEGIN):
        assert [[*BEGIN, *row] for row in chosen.rows] == tokens.tolist()
        assert chosen.totals == pytest.approx(totals.tolist(), abs=1e-5)
    else:
        assert len(ended) == beam_size  # what goes on does not count any more


def run_greedy(model: Model, temperature: float, steps: int) -> Tuple[List[int], float]:
    search = GreedyDecoder(temperature, EOT)
    tokens, totals, is_over = torch.tensor([BEGIN]), torch.zeros(1), False
    while steps and not is_over:
        tokens, is_over = search.update(tokens, model.logits(tokens), totals)
        steps -= 1
    return tokens[0].tolist(), float(totals)


@settings(deadline=None)
@given(MODELS, st.sampled_from([0.0, 0.4, 0.8, 1.0]), STEPS, st.integers(0, 4))
def test_one_hypothesis_goes_on_as_the_greedy_decoder_does(
    model: Model, temperature: float, steps: int, beyond: int
) -> None:
    torch.manual_seed(5)
    tokens, total = run_greedy(model, temperature, steps)
    torch.manual_seed(5)
    search = search_for(None, temperature, EOT, N_CTX, CPU)
    if isinstance(search, SampledChoice):
        search.heat(temperature)
    chosen, _ = run_tensors(search, model, steps, beyond)
    found = [*BEGIN, *chosen.rows[0]]
    assert found[: len(tokens)] == tokens
    assert set(found[len(tokens) :]) <= {EOT}
    assert chosen.totals == pytest.approx([total], abs=1e-5)
    assert chosen.ended == []


@pytest.mark.parametrize(("beam_size", "temperature"), [(3, 0.0), (None, 0.0), (None, 0.7)])
def test_a_search_begins_anew(beam_size: Optional[int], temperature: float) -> None:
    search = search_for(beam_size, temperature, EOT, N_CTX, CPU)
    found = []
    for seed in (1, 2, 1):
        torch.manual_seed(0)
        found.append(run_tensors(search, Model(seed, 4.0, first_eot=False), 10, beyond=2))
    assert found[0] == found[2] != found[1]
