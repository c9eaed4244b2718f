"""The beam, as openai-whisper's; the best of many values; what moves between hypotheses."""

from typing import Dict, List, Tuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from whisper.decoding import BeamSearchDecoder

from recognizer.search import BeamSearch, top

EOT = 7
BEAM_SIZE = 3
PROMPT = (1, 2)


class Rows:
    """What each hypothesis remembers of its tokens: `tokens`, and by whom each was written."""

    def __init__(self) -> None:
        self.rows: List[List[Tuple[int, int]]] = []
        self.moved = 0

    def write(self, tokens: Tensor) -> None:
        """All rows have the same prompt; then each adds its last token."""
        for row, sequence in enumerate(tokens.tolist()):
            if len(self.rows) < BEAM_SIZE:
                self.rows.append([(token, 0) for token in sequence])
            else:
                self.rows[row].append((sequence[-1], row))

    def rearrange_kv_cache(self, sources: List[int]) -> None:
        self.moved += sum(len(self.rows[source]) for row, source in enumerate(sources) if row != source)
        self.rows = [list(self.rows[source]) for source in sources]

    def go_on(self, sources: List[int], n_common: int) -> None:
        before = [list(row) for row in self.rows]
        self.moved += sum(len(before[source]) - n_common for row, source in enumerate(sources) if row != source)
        for row, source in enumerate(sources):
            self.rows[row][n_common:] = before[source][n_common:]


def searched(kind: type, steps: List[Tensor]) -> Tuple[List[Tensor], Dict[Tuple[int, ...], float], Rows]:
    """The hypotheses after each step, those that have ended, and what is remembered."""
    rows = Rows()
    search = kind(BEAM_SIZE, EOT, rows)
    search.reset()
    tokens, logprobs = torch.tensor([PROMPT] * BEAM_SIZE), torch.zeros(BEAM_SIZE)
    seen = []
    for logits in steps:
        rows.write(tokens)
        tokens, completed = search.update(tokens, logits.clone(), logprobs)
        seen.append(tokens.clone())
        if completed:
            break
    return seen, search.finished_sequences[0], rows


@given(st.integers(0, 10**6), st.integers(1, 12))
def test_hypotheses_go_on_as_openai_whispers_with_what_they_remember(seed: int, n_steps: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    steps = [torch.randn(BEAM_SIZE, 8, generator=generator) * 3 for _ in range(n_steps)]
    steps = [steps[0][:1].expand(BEAM_SIZE, -1), *steps[1:]]  # of one prompt all foretell the same
    theirs, ended, their_rows = searched(BeamSearchDecoder, steps)
    ours, our_ended, our_rows = searched(BeamSearch, steps)
    assert [tokens.tolist() for tokens in ours] == [tokens.tolist() for tokens in theirs]
    assert our_ended == pytest.approx(ended, abs=1e-5)
    assert [[token for token, _ in row] for row in our_rows.rows] == [
        [token for token, _ in row] for row in their_rows.rows
    ]
    assert our_rows.rows == their_rows.rows
    assert our_rows.moved < their_rows.moved or their_rows.moved == 0


@given(st.integers(1, 5), st.integers(1, 3000), st.integers(1, 6), st.integers(0, 10**6))
def test_the_best_are_those_of_topk(n: int, length: int, k: int, seed: int) -> None:
    x = torch.rand(n, length, generator=torch.Generator().manual_seed(seed)).double()
    values, indices = top(x, min(k, length))
    best = x.topk(min(k, length))
    assert torch.equal(values, best.values)
    assert torch.equal(indices, best.indices)


@pytest.mark.parametrize("n_vocab", [51864, 51865, 51866])
def test_the_best_of_a_vocabulary_of_which_most_is_forbidden_are_found(n_vocab: int) -> None:
    x = torch.full((5, n_vocab), -torch.inf)
    allowed = torch.randperm(n_vocab, generator=torch.Generator().manual_seed(1))[:40]
    x[:, allowed] = torch.rand(5, 40)
    x[:, -1] = 2.0
    values, indices = top(x, 6)
    assert torch.equal(values, x.topk(6).values)
    assert torch.equal(x.gather(1, indices), values)
