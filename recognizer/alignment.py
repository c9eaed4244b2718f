"""Which heads of a model's cross-attention follow the speech, and what is made of them: what word times are read from.

openai-whisper publishes them for its own models (`whisper._ALIGNMENT_HEADS`), whose weights come from many places.
"""

import logging
from typing import Dict, List, Optional, Tuple

import numpy as np
import torch
import whisper
from torch import Tensor
from torch.nn.functional import pad
from whisper import ModelDimensions

_log = logging.getLogger(__name__)

_MEDIAN_POSITIONS = 7  # of the encoder; as whisper.timing
_FROM_ABOVE, _FROM_LEFT = 1, 2  # ways of a path

Heads = Tuple[Tuple[int, int], ...]  # layer and head

# Layers and width of the decoder, mel bins, vocabulary. large-v1 and large-v2 have the same, and other heads.
_PUBLISHED: Dict[Tuple[int, int, int, int], str] = {
    (4, 384, 80, 51864): "tiny.en",
    (4, 384, 80, 51865): "tiny",
    (6, 512, 80, 51864): "base.en",
    (6, 512, 80, 51865): "base",
    (12, 768, 80, 51864): "small.en",
    (12, 768, 80, 51865): "small",
    (24, 1024, 80, 51864): "medium.en",
    (24, 1024, 80, 51865): "medium",
    (32, 1280, 128, 51866): "large-v3",
    (4, 1280, 128, 51866): "large-v3-turbo",
}


def set_alignment_heads(model: whisper.Whisper, size: str) -> None:
    """Give a model of that name, or from that path, the heads of the published model that it is.

    Where that cannot be told, it keeps what openai-whisper gives it: every head in the upper half of the layers.
    """
    name = size if size in whisper._ALIGNMENT_HEADS else published_name(model.dims)
    if name is None:
        _log.info("the alignment heads of %s are not known: word times come from the upper half of its layers", size)
        return
    model.set_alignment_heads(whisper._ALIGNMENT_HEADS[name])


def alignment_heads(model: whisper.Whisper) -> Heads:
    """Layer and head of each."""
    return tuple((int(layer), int(head)) for layer, head in model.alignment_heads.indices().T.tolist())


def published_name(dims: ModelDimensions) -> Optional[str]:
    """The published model that has these sizes, where there is only one."""
    return _PUBLISHED.get((dims.n_text_layer, dims.n_text_state, dims.n_mels, dims.n_vocab))


def median_filter(x: Tensor) -> Tensor:
    """Of a few neighbours along the last dimension the median, as `whisper.timing.median_filter`.

    All places are sorted at once, by exchange of neighbours (odd-even transposition: Knuth, TAOCP 3, 5.3.4).
    """
    half = _MEDIAN_POSITIONS // 2
    if x.shape[-1] <= half:
        return x
    values = list(pad(x, (half, half), mode="reflect").unfold(-1, _MEDIAN_POSITIONS, 1).unbind(-1))
    for sweep in range(len(values)):
        for index in range(sweep % 2, len(values) - 1, 2):
            lower, upper = values[index : index + 2]
            values[index : index + 2] = torch.minimum(lower, upper), torch.maximum(lower, upper)
    return values[half]


def listening(scores: Tensor, n_positions: int, first: int, least_deviation: float) -> Tensor:
    """How much tokens listen to each of the first positions, as `whisper.timing`: the mean of what its heads say.

    Scores before the softmax (n_heads, n_tokens, n_audio_ctx) → (n_tokens - first, n_positions), of tokens from `first`
    on. At each position it is how far a token is above the mean of all tokens, in units of their deviation, where there
    are several.
    """
    weights = scores[:, :, :n_positions].softmax(dim=-1)
    if weights.shape[1] > 1:
        deviation, mean = torch.std_mean(weights, dim=1, keepdim=True, unbiased=False)
        weights = (weights - mean) / (deviation + least_deviation)
    return median_filter(weights[:, first:]).mean(dim=0)


def warp(cost: Tensor) -> List[int]:
    """Dynamic time warping, which in openai-whisper compiles itself for seconds: the first column of each row.

    The path through `cost` (n_rows, n_columns) from corner to corner that costs least. Cells with the same sum of row
    and column follow from the two such diagonals before, all at once.
    """
    n_rows, n_columns = cost.shape
    row, column = np.indices((n_rows, n_columns))
    slanted = np.full((n_rows + n_columns - 1, n_rows), np.inf, np.float32)
    slanted[row + column, row] = cost.numpy()
    steps = np.zeros(slanted.shape, np.int8)
    before_last = np.full(n_rows + 1, np.inf, np.float32)  # one cell more in front: there is no row above the first
    last = before_last.copy()
    before_last[0] = 0.0
    for diagonal, costs in enumerate(slanted):
        ways = np.stack((before_last[:-1], last[:-1], last[1:]))  # from above left, from above, from the left
        steps[diagonal] = ways.argmin(axis=0)
        before_last, last = last, np.concatenate(([np.inf], costs + ways.min(axis=0))).astype(np.float32)
    firsts = [0] * n_rows
    row_index, column_index = n_rows - 1, n_columns - 1
    while row_index >= 0 and column_index >= 0:
        firsts[row_index] = column_index
        step = steps[row_index + column_index, row_index]
        row_index -= step != _FROM_LEFT
        column_index -= step != _FROM_ABOVE
    return firsts
