"""The heads that follow the speech, for weights from anywhere, and what the decoder tells of them."""

from dataclasses import replace
from pathlib import Path
from typing import List

import pytest
import torch
import whisper
from torch import Tensor
from whisper.model import disable_sdpa
from whisper.timing import median_filter as whispers_median_filter

from recognizer.alignment import Heads, alignment_heads, median_filter, published_name, set_alignment_heads
from recognizer.catalog import MODEL_NAMES
from recognizer.decoder import FastDecoder
from recognizer.weights import load_weights
from tests.unit.test_decoder import SMALL, random_model

TINY = whisper.ModelDimensions(80, 1500, 384, 6, 4, 51865, 448, 384, 6, 4)
BASE = whisper.ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6)
LARGE = whisper.ModelDimensions(80, 1500, 1280, 20, 32, 51865, 448, 1280, 20, 32)
TURBO = whisper.ModelDimensions(128, 1500, 1280, 20, 32, 51866, 448, 1280, 20, 4)


def small_model(dims: whisper.ModelDimensions) -> whisper.Whisper:
    """As many layers and heads in the decoder, and as little else as there can be."""
    model = whisper.Whisper(
        replace(dims, n_audio_layer=0, n_audio_state=20, n_audio_head=1, n_vocab=1, n_text_state=2 * dims.n_text_head)
    )
    model.dims = dims
    return model


def heads_of(size: str, dims: whisper.ModelDimensions) -> Heads:
    model = small_model(dims)
    set_alignment_heads(model, size)
    return alignment_heads(model)


def published(name: str, dims: whisper.ModelDimensions) -> Heads:
    model = small_model(dims)
    model.set_alignment_heads(whisper._ALIGNMENT_HEADS[name])
    return alignment_heads(model)


def test_every_model_that_has_a_name_has_published_heads() -> None:
    assert set(MODEL_NAMES) <= set(whisper._ALIGNMENT_HEADS)


@pytest.mark.parametrize(
    ("dims", "name"),
    [
        (TINY, "tiny"),
        (BASE, "base"),
        (replace(BASE, n_vocab=51864), "base.en"),
        (TURBO, "large-v3-turbo"),
        (replace(TURBO, n_text_layer=32), "large-v3"),
        (LARGE, None),  # v1 or v2
        (replace(TURBO, n_text_layer=2), None),  # distilled
        (SMALL, None),
    ],
)
def test_sizes_tell_the_published_model(dims: whisper.ModelDimensions, name: str) -> None:
    assert published_name(dims) == name


def test_a_path_has_the_heads_of_the_model_that_its_sizes_tell() -> None:
    assert heads_of("/some/where.pt", BASE) == heads_of("base", BASE) == published("base", BASE)


def test_a_name_tells_what_sizes_cannot() -> None:
    assert heads_of("large-v1", LARGE) == published("large-v1", LARGE) != published("large-v2", LARGE)


def test_an_unknown_model_has_every_head_of_its_upper_layers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert heads_of("/a/large.pt", LARGE) == tuple((layer, head) for layer in range(16, 32) for head in range(20))
    assert "/a/large.pt" in caplog.text


def test_weights_from_packages_and_from_a_path_have_them(tmp_path: Path) -> None:
    by_name = load_weights("base")
    path = tmp_path / "copy.pt"
    torch.save({"dims": vars(by_name.dims), "model_state_dict": by_name.state_dict()}, path)
    assert alignment_heads(load_weights(str(path))) == alignment_heads(by_name) == published("base", BASE)


# --- the decoder -----------------------------------------------------------------------------


def theirs(model: whisper.Whisper, tokens: Tensor, features: Tensor, heads: Heads) -> Tensor:
    """openai-whisper's scores."""
    found: List[Tensor] = []
    hooks = [
        block.cross_attn.register_forward_hook(lambda *call: found.append(call[-1][-1][0]))
        for block in model.decoder.blocks
    ]
    with disable_sdpa():
        model.decoder(tokens[None], features[None])
    for hook in hooks:
        hook.remove()
    return torch.stack([found[layer][head] for layer, head in heads])


@torch.inference_mode()
@pytest.mark.parametrize("split", [0, 1, 7, 11])
def test_the_decoder_tells_where_its_heads_listen_as_whisper_does(split: int) -> None:
    model = random_model(SMALL)
    heads = alignment_heads(model)
    decoder = FastDecoder(model.decoder, 2, heads)
    features = torch.randn(SMALL.n_audio_ctx, SMALL.n_audio_state)
    tokens = torch.randint(0, 50257, (12,))
    decoder.listen(features)
    parts = [
        decoder.follow(part, offset) for part, offset in ((tokens[:split], 0), (tokens[split:], split)) if len(part)
    ]
    logits, scores = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts], dim=1)
    assert torch.allclose(scores, theirs(model, tokens, features, heads), atol=1e-3)
    assert torch.allclose(logits, model.decoder(tokens[None], features[None])[0], atol=1e-3)


@pytest.mark.parametrize("n_positions", [1, 3, 4, 7, 250])
def test_what_lies_apart_from_its_neighbours_is_levelled_as_openai_whisper_does(n_positions: int) -> None:
    scores = torch.randn(8, 30, n_positions)
    assert torch.equal(median_filter(scores), whispers_median_filter(scores, 7))
