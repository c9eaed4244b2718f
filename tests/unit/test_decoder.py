"""Our encoder and decoder give openai-whisper's tokens; real weights and small random models of every shape."""

import os
from dataclasses import replace
from typing import List, Optional, Tuple

import pytest
import torch
import whisper
from torch import Tensor
from whisper.decoding import DecodingOptions, DecodingResult

from bench.recordings import Recording
from recognizer.audio import to_samples
from recognizer.decoder import FastDecoder, FastTask
from recognizer.encoder import FastEncoder
from recognizer.weights import load_weights

BEAM_SIZE = 5
# Of the recordings in SPEECH_DIR every so many are decoded twice; PARITY_EVERY=1 takes the time for all of them.
EVERY = int(os.environ.get("PARITY_EVERY", "48"))
OPTIONS = DecodingOptions(language="ko", without_timestamps=True, fp16=False)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")),
]

SMALL = whisper.ModelDimensions(
    n_mels=80,
    n_audio_ctx=1500,
    n_audio_state=64,
    n_audio_head=4,
    n_audio_layer=2,
    n_vocab=51865,
    n_text_ctx=448,
    n_text_state=64,
    n_text_head=2,
    n_text_layer=3,
)
SHAPES = {
    "multilingual": SMALL,
    "English only": replace(SMALL, n_vocab=51864),
    "128 mel bins": replace(SMALL, n_mels=128, n_vocab=51866),
    "few decoder layers": replace(SMALL, n_audio_layer=4, n_text_layer=1),
    "another head": replace(SMALL, n_audio_head=8, n_text_head=8),
}


@pytest.fixture(scope="module")
def base() -> whisper.Whisper:
    return load_weights("base").eval()


def random_model(dims: whisper.ModelDimensions) -> whisper.Whisper:
    torch.manual_seed(7)
    model = whisper.Whisper(dims)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def log_mel(samples: Tensor, model: whisper.Whisper) -> Tensor:
    mel: Tensor = whisper.log_mel_spectrogram(whisper.pad_or_trim(samples), n_mels=model.dims.n_mels)
    return mel.to(model.device)


def decode_both(model: whisper.Whisper, mel: Tensor, options: DecodingOptions) -> Tuple[DecodingResult, DecodingResult]:
    """What openai-whisper decodes, and what we do."""
    with torch.inference_mode():
        theirs = whisper.decode(model, mel, options)
        features = FastEncoder(model.encoder)(mel)
        decoder = FastDecoder(model.decoder, BEAM_SIZE)
        decoder.listen(features)
        return theirs, FastTask(model, options, decoder).run(features[None])[0]


def assert_same(theirs: DecodingResult, ours: DecodingResult) -> None:
    assert ours.tokens == theirs.tokens
    assert ours.text == theirs.text
    assert ours.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-3)
    assert ours.no_speech_prob == pytest.approx(theirs.no_speech_prob, abs=1e-3)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("beam_size", [None, BEAM_SIZE], ids=["greedy", "beam"])
@pytest.mark.parametrize("dims", SHAPES.values(), ids=SHAPES.keys())
def test_a_model_of_any_shape_gives_the_same_tokens(
    dims: whisper.ModelDimensions, beam_size: Optional[int], device: str
) -> None:
    model = random_model(dims).to(device)
    mel = log_mel(torch.randn(5 * 16000, generator=torch.Generator().manual_seed(3)), model)
    options = replace(OPTIONS, language="en", beam_size=beam_size, sample_len=24)
    assert_same(*decode_both(model, mel, options))


@pytest.mark.parametrize("beam_size", [None, BEAM_SIZE], ids=["greedy", "beam"])
def test_real_speech_gives_the_same_tokens(base: whisper.Whisper, speech: bytes, beam_size: Optional[int]) -> None:
    mel = log_mel(torch.from_numpy(to_samples(speech, 16000)), base)
    options = replace(OPTIONS, language="en", beam_size=beam_size)
    theirs, ours = decode_both(base, mel, options)
    assert_same(theirs, ours)
    assert "fail better" in ours.text.lower()


def test_a_prompt_and_a_translation_give_the_same_tokens(base: whisper.Whisper, speech: bytes) -> None:
    mel = log_mel(torch.from_numpy(to_samples(speech, 16000)), base)
    options = replace(OPTIONS, beam_size=BEAM_SIZE, task="translate", prompt="Samuel Beckett, Worstward Ho")
    assert_same(*decode_both(base, mel, options))


@pytest.mark.parametrize("beam_size", [None, BEAM_SIZE], ids=["greedy", "beam"])
def test_the_recordings_give_the_same_tokens(
    base: whisper.Whisper, recordings: List[Recording], beam_size: Optional[int]
) -> None:
    for recording in [recording for recording in recordings if recording.references][::EVERY]:
        samples = to_samples(recording.pcm, 16000)
        options = replace(OPTIONS, language=recording.language, beam_size=beam_size)
        assert_same(*decode_both(base, log_mel(torch.from_numpy(samples), base), options))


def test_the_encoder_hears_what_whispers_does(base: whisper.Whisper, speech: bytes) -> None:
    mel = log_mel(torch.from_numpy(to_samples(speech, 16000)), base)
    with torch.inference_mode():
        torch.testing.assert_close(FastEncoder(base.encoder)(mel), base.embed_audio(mel[None])[0], atol=1e-4, rtol=1e-4)


def test_keys_and_values_stay_where_they_were_allocated(base: whisper.Whisper, speech: bytes) -> None:
    mel = log_mel(torch.from_numpy(to_samples(speech, 16000)), base)
    with torch.inference_mode():
        decoder = FastDecoder(base.decoder, BEAM_SIZE)
        features = FastEncoder(base.encoder)(mel)
        before = decoder.memory.data_ptr()
        texts = []
        for _ in range(2):
            decoder.listen(features)
            options = replace(OPTIONS, language="en", beam_size=BEAM_SIZE)
            texts.append(FastTask(base, options, decoder).run(features[None])[0].text)
    assert decoder.memory.data_ptr() == before
    assert texts[0] == texts[1]


def test_one_decoder_serves_utterances_of_every_length_and_both_searches(
    base: whisper.Whisper, speech: bytes, phrase: bytes
) -> None:
    with torch.inference_mode():
        encoder, decoder = FastEncoder(base.encoder), FastDecoder(base.decoder, BEAM_SIZE)
        for beam_size, pcm in ((BEAM_SIZE, phrase), (None, speech), (BEAM_SIZE, phrase)):
            mel = log_mel(torch.from_numpy(to_samples(pcm, 16000)), base)
            options = replace(OPTIONS, language="en", beam_size=beam_size)
            features = encoder(mel)
            decoder.listen(features)
            assert_same(whisper.decode(base, mel, options), FastTask(base, options, decoder).run(features[None])[0])
