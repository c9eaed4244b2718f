"""Short windows for the model that they were measured with, and only as long as learnt silence is of use to it."""

import logging
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import whisper

from recognizer.audio import SAMPLE_RATE, Samples
from recognizer.encoder import FastEncoder
from recognizer.graphs import Uncaptured
from recognizer.live import LiveText
from recognizer.loading import borrow, load, prepare
from recognizer.network import StaticNetwork
from recognizer.precision import Precision, apply_precision
from recognizer.recognizer import Recognizer
from recognizer.request import Request
from recognizer.settings import RecognizerSettings
from recognizer.weights import load_weights
from recognizer.windows import PUBLISHED, SHORT, choose_windows, try_silence, windows_of
from tests.harness.random_models import random_model
from tests.unit.test_static import SIZES, halves

FLOAT32 = Precision("float32", "the test says so")


@pytest.fixture(scope="module")
def base() -> whisper.Whisper:
    return load_weights("base").eval()


@pytest.fixture(scope="module")
def unmeasured() -> Recognizer:
    """base, as if nobody had measured it."""
    loaded = load("base", FLOAT32, 1)
    loaded.encoder.forget_silence()
    return Recognizer(RecognizerSettings(beam_size=1), 1, loaded=loaded)


# --- who may have short ones


@pytest.mark.parametrize("compute", ["float32", pytest.param("bfloat16", marks=pytest.mark.thorough), "int8"])
def test_base_may_have_short_windows(base: whisper.Whisper, compute: str, caplog: pytest.LogCaptureFixture) -> None:
    encoder = apply_precision(FastEncoder(base.encoder), compute) if compute != "int8" else int8_encoder()
    with caplog.at_level(logging.INFO):
        choose_windows(encoder, base.dims)
    assert windows_of(encoder) == SHORT
    (record,) = caplog.records
    assert str(SHORT) in record.getMessage()
    assert "base" in record.getMessage()


def int8_encoder() -> FastEncoder:
    """Of weights of its own: they are gone where int8 is made of them."""
    return apply_precision(FastEncoder(load_weights("base").encoder), "int8")


@pytest.mark.parametrize("name", [name for name in SIZES if name != "base"])
def test_sizes_that_nobody_measured_have_the_published_margin(name: str, caplog: pytest.LogCaptureFixture) -> None:
    encoder = FastEncoder(random_model(SIZES[name].dims()).encoder)  # narrower: what counts are the sizes that are told
    with caplog.at_level(logging.INFO):
        choose_windows(encoder, SIZES[name].dims(head_size=64))
    assert windows_of(encoder) == PUBLISHED
    (record,) = caplog.records
    assert str(PUBLISHED) in record.getMessage()


@torch.no_grad()
def test_weights_of_the_measured_sizes_to_which_silence_is_of_no_use_have_the_published_margin(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = load_weights("base").eval()
    for block in model.encoder.blocks:
        block.attn.key.weight.mul_(3)  # it listens to single places, which silence that was thinned out may miss
    encoder = FastEncoder(model.encoder)
    choose_windows(encoder, model.dims)
    assert windows_of(encoder) == PUBLISHED
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "base" in record.getMessage()


@pytest.mark.parametrize("name", SIZES)
def test_what_is_learnt_of_silence_stands_for_it_whatever_the_size(name: str) -> None:
    encoder = FastEncoder(random_model(SIZES[name].dims(n_audio_ctx=1500)).encoder)
    assert 0 < try_silence(encoder) < 0.4


# --- what follows for a model that nobody measured


@pytest.mark.parametrize(
    ("sound_s", "window_s"), [(0.3, 10.0), (7.9, 10.0), (8.1, 10.5), (12.0, 14.0), (27.9, 30.0), (29.0, 30.0)]
)
def test_it_has_ten_seconds_at_least_and_two_behind_the_sound(sound_s: float, window_s: float) -> None:
    assert PUBLISHED.samples(round(sound_s * SAMPLE_RATE)) == window_s * SAMPLE_RATE


def test_it_recognises_speech_over_such_a_window(unmeasured: Recognizer, samples: Samples) -> None:
    recognition = unmeasured.recognize(samples, Request("en"))
    assert recognition.window_s == 10.0
    assert "no matter" in recognition.text.lower()


def test_it_shows_live_text(unmeasured: Recognizer, samples: Samples) -> None:
    live = LiveText(unmeasured)
    live.begin(Request("en"))
    for end in range(SAMPLE_RATE, len(samples) + 1, SAMPLE_RATE):
        shown = live.tick(samples[:end])
    assert "no matter" in (shown.stable + shown.unstable).lower()


def test_what_is_captured_are_windows_that_it_may_have(base: whisper.Whisper) -> None:
    encoder, decoder = halves(base)
    measured = StaticNetwork(base, encoder, decoder, 1, Uncaptured())
    assert measured.window(2 * SAMPLE_RATE) == 2 * SAMPLE_RATE
    encoder.forget_silence()
    unmeasured = StaticNetwork(base, encoder, decoder, 1, Uncaptured())
    assert unmeasured.window(2 * SAMPLE_RATE) == 10 * SAMPLE_RATE
    assert unmeasured.window(12 * SAMPLE_RATE) == 15 * SAMPLE_RATE


def test_whoever_borrows_the_weights_has_the_windows_of_who_lends_them(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    assert windows_of(borrow(prepare("base", cpu, FLOAT32), 1).encoder) == SHORT
    dims = SIZES["tiny"].dims()
    torch.save({"dims": asdict(dims), "model_state_dict": random_model(dims).state_dict()}, tmp_path / "own.pt")
    assert windows_of(borrow(prepare(str(tmp_path / "own.pt"), cpu, FLOAT32), 1).encoder) == PUBLISHED
