"""Our encoder and decoder give openai-whisper's tokens; real weights and small random models of every shape.

And its text, but for torn characters.
"""

import os
from dataclasses import replace
from typing import List, Optional, Tuple

import pytest
import torch
import whisper
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from whisper.decoding import DecodingOptions, DecodingResult
from whisper.tokenizer import get_tokenizer
from whisper.utils import compression_ratio

from bench.recordings import Recording
from recognizer.audio import to_samples
from recognizer.decoder import FastDecoder, FastTask, whole_text
from recognizer.encoder import FastEncoder
from recognizer.weights import load_weights

BEAM_SIZE = 5
TORN = "\ufffd"
TOKENIZER = get_tokenizer(True, num_languages=99, language="ko", task="transcribe")
N_WORDS = 50257  # tokens that are no special ones
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
    if TORN not in theirs.text:
        assert ours.text == theirs.text
    assert TORN not in ours.text
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


@pytest.mark.thorough
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


@pytest.mark.thorough
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


# --- text


def test_a_decoder_that_tears_characters_gives_whole_ones() -> None:
    """Sampled from a model that knows nothing, many tokens are parts of characters."""
    model = random_model(SMALL)
    decoder = FastDecoder(model.decoder, 1)
    features = torch.randn(1, SMALL.n_audio_ctx, SMALL.n_audio_state)
    with torch.inference_mode():
        decoder.listen(features[0])
        result = FastTask(model, replace(OPTIONS, temperature=4.0, sample_len=100), decoder).run(features)[0]
    torn = TOKENIZER.decode(result.tokens).strip()
    assert TORN in torn
    assert TORN not in result.text
    assert result.text
    assert result.compression_ratio == compression_ratio(result.text) != compression_ratio(torn)


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([" 관계자".encode(), "드".encode()[:2], " 분들은".encode()], "관계자 분들은"),
        ([" 관계자 ".encode(), "드".encode()[:1], " 분들은".encode()], "관계자 분들은"),
        (["드".encode()[1:], "라마".encode()], "라마"),
        (["라마 ".encode(), "드".encode()[:2]], "라마"),
        ([" 관계".encode(), " 자".encode()[:2], "드라마".encode()], "관계 드라마"),
        (["드".encode()[:2], "드".encode()[:2]], ""),
        (["드".encode()[:2], "드".encode()[2:]], "드"),
    ],
)
def test_a_character_is_whole_or_not_there(pieces: List[bytes], text: str) -> None:
    assert whole_text(TOKENIZER, [token for piece in pieces for token in byte_tokens(piece)]) == text


def byte_tokens(data: bytes) -> List[int]:
    """One token for each byte: the vocabulary holds every byte."""
    return [TOKENIZER.encoding.encode_single_token(bytes([byte])) for byte in data]


@given(st.lists(st.integers(0, N_WORDS - 1), max_size=30))
def test_no_tokens_give_a_torn_character(tokens: List[int]) -> None:
    assert TORN not in whole_text(TOKENIZER, tokens)


@given(st.lists(st.sampled_from(byte_tokens(bytes(range(256)))), max_size=30))
def test_no_bytes_give_a_torn_character(tokens: List[int]) -> None:
    text = whole_text(TOKENIZER, tokens)
    assert TORN not in text
    text.encode()  # nor half a surrogate


KOREAN = st.text(st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3) | st.sampled_from(" .?"), max_size=12)


@given(KOREAN | st.text(max_size=12).filter(lambda text: TORN not in text))
def test_a_whole_text_stays_as_it_is(text: str) -> None:
    assert whole_text(TOKENIZER, TOKENIZER.encode(text)) == text.strip()


@given(KOREAN, st.integers(0, 40))
def test_a_text_that_is_cut_off_ends_with_a_whole_character(text: str, kept: int) -> None:
    cut = text.encode()[:kept]
    assert whole_text(TOKENIZER, byte_tokens(cut)) == cut.decode(errors="ignore").strip()


@given(st.lists(st.integers(0, N_WORDS - 1), max_size=30))
def test_text_without_torn_characters_is_that_of_whisper(tokens: List[int]) -> None:
    theirs = TOKENIZER.decode(tokens)
    if TORN not in theirs:
        assert whole_text(TOKENIZER, tokens) == theirs.strip()
