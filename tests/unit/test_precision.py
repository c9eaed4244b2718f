"""What is computed in which numbers, and how near int8 stays to float32."""

import copy

import numpy as np
import pytest
import torch
import whisper
from torch import Tensor, nn
from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

from recognizer.audio import to_samples
from recognizer.encoder import FastEncoder
from recognizer.int8 import Int8Linear
from recognizer.precision import apply_precision, choose_precision
from recognizer.recognizer import Recognizer
from recognizer.settings import RecognizerSettings
from recognizer.weights import load_weights


def activations(positions: int, size: int) -> Tensor:
    """As they are behind GELU: a few positions a hundred times as loud as the others."""
    generator = torch.Generator().manual_seed(3)
    loudness = torch.ones(positions, 1)
    loudness[:3] = 100
    return torch.randn(positions, size, generator=generator) * loudness


def linear(size_in: int, size_out: int) -> nn.Linear:
    torch.manual_seed(5)
    return nn.Linear(size_in, size_out)


def error(found: Tensor, right: Tensor) -> float:
    """Of the quiet positions, relative."""
    return float((found[3:] - right[3:]).norm() / right[3:].norm())


@pytest.mark.parametrize(
    ("compute", "device", "numbers"),
    [
        ("auto", "cpu", "int8"),
        ("bfloat16", "cpu", "bfloat16"),
        ("auto", "cuda", "float16"),
        ("int8", "cuda", "float16"),
    ],
)
def test_what_is_computed_in_follows_from_the_device_unless_it_is_told(compute: str, device: str, numbers: str) -> None:
    assert choose_precision(compute, torch.device(device)).dtype == numbers


@pytest.mark.parametrize("compute", ["float32", pytest.param("bfloat16", marks=pytest.mark.thorough), "int8"])
@torch.inference_mode()
def test_what_the_encoder_hears_does_not_depend_on_how_many_threads_are_allowed(compute: str) -> None:
    """Defends: `is_shared`. An engine has more threads while others are idle."""
    recognizer = Recognizer(RecognizerSettings("base", "cpu", compute=compute), threads=1)
    encoder, sharing = recognizer.parts.network.encoder, recognizer.parts.sharing
    for positions in range(100, 500, 50):
        mel = torch.randn(80, 2 * positions, generator=torch.Generator().manual_seed(positions))
        heard = []
        for threads in (1, 2, 3):
            recognizer.use_threads(threads)
            with sharing():
                heard.append(encoder(mel.to(encoder.positions.dtype)))
        assert torch.equal(heard[0], heard[1]), positions
        assert torch.equal(heard[0], heard[2]), positions


@torch.inference_mode()
def test_a_matrix_that_narrows_hears_the_quiet_beside_the_loud() -> None:
    exact = linear(512, 128)
    x = activations(40, 512)
    torchs = quantize_dynamic(  # type: ignore[no-untyped-call]
        nn.Sequential(copy.deepcopy(exact)), {nn.Linear: per_channel_dynamic_qconfig}
    )
    assert error(Int8Linear(exact)(x), exact(x)) < 0.02 < error(torchs(x), exact(x))


@torch.inference_mode()
@pytest.mark.parametrize(("size_in", "size_out"), [(64, 256), (256, 64)])
def test_silence_gives_the_bias(size_in: int, size_out: int) -> None:
    exact = linear(size_in, size_out)
    found = Int8Linear(exact)(torch.zeros(1, 5, size_in))
    assert torch.allclose(found, exact.bias.expand(1, 5, -1), atol=1e-3)


@torch.inference_mode()
@pytest.mark.parametrize("size_out", [64, 256])
def test_no_sum_overflows_at_the_largest_values(size_out: int) -> None:
    """FBGEMM adds products of two bytes in 16 bits where the processor has nothing wider."""
    exact = linear(128, size_out)
    exact.weight.data.fill_(1.0)
    x = torch.ones(4, 128)
    assert torch.allclose(Int8Linear(exact)(x), exact(x), rtol=0.02)


@torch.inference_mode()
def test_the_encoder_in_int8_is_near_float32(phrase: bytes) -> None:
    samples = torch.from_numpy(np.ascontiguousarray(to_samples(phrase, 16000)))
    mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(samples, 5 * 16000))
    model = load_weights("base").eval()
    exact, found = FastEncoder(model.encoder), apply_precision(FastEncoder(copy.deepcopy(model.encoder)), "int8")
    exact.learn_silence()
    found.learn_silence()
    right = exact(mel)
    assert float((found(mel) - right).norm() / right.norm()) < 0.18  # torch's own: 0.24
