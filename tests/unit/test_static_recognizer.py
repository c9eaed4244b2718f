"""A recogniser whose work is replayed says what the one with growing shapes says: results, words, live text."""

from typing import List

import pytest
import torch
from whisper.audio import N_SAMPLES
from whisper.tokenizer import get_tokenizer

import recognizer.network
import recognizer.recognizer
from recognizer.audio import SAMPLE_RATE, Samples, to_samples
from recognizer.decoder import text_tokens
from recognizer.doubt import said
from recognizer.live import LiveText, Partial
from recognizer.recognizer import Cancelled, Recognizer
from recognizer.request import Context, Recognition, Request
from recognizer.settings import RecognizerSettings
from tests.harness.fake_graphs import FakeGraphs

pytestmark = pytest.mark.thorough

FULL = RecognizerSettings(compute="float32", window="full")
ENGLISH = Request(language="en", words=True)


@pytest.fixture(scope="module")
def graphs() -> FakeGraphs:
    return FakeGraphs()


@pytest.fixture(scope="module")
def static(graphs: FakeGraphs) -> Recognizer:
    return Recognizer(FULL, threads=1, runner=graphs)


@pytest.fixture(scope="module")
def free() -> Recognizer:
    return Recognizer(FULL, threads=1)


def assert_same(ours: Recognition, theirs: Recognition) -> None:
    assert (ours.text, ours.language, ours.temperature) == (theirs.text, theirs.language, theirs.temperature)
    assert ours.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-3)
    assert ours.no_speech_prob == pytest.approx(theirs.no_speech_prob, abs=1e-3)
    assert [word.text for word in ours.words] == [word.text for word in theirs.words]
    for our, their in zip(ours.words, theirs.words):
        assert (our.start_s, our.end_s) == pytest.approx((their.start_s, their.end_s), abs=0.05)
        assert our.confidence == pytest.approx(their.confidence, abs=1e-2)


@pytest.mark.parametrize(
    "request_",
    [ENGLISH, Request("auto", words=True), Request("en", task="translate", prompt="Samuel Beckett")],
    ids=["words", "language found out", "translation with a prompt"],
)
def test_an_utterance_is_recognised_as_without(
    static: Recognizer, free: Recognizer, speech: bytes, request_: Request
) -> None:
    samples = to_samples(speech, SAMPLE_RATE)
    ours = static.recognize(samples, request_)
    assert_same(ours, free.recognize(samples, request_))
    assert ours.text


def test_speech_that_goes_on_is_recognised_as_without(static: Recognizer, free: Recognizer, speech: bytes) -> None:
    samples, cut = to_samples(speech, SAMPLE_RATE), 4 * SAMPLE_RATE
    context = Context(samples[:cut], held_s=0.5, text="Ever tried, ever failed.", language="en")
    request = Request("en", words=True, context=context)
    assert_same(static.recognize(samples[cut:], request), free.recognize(samples[cut:], request))


def test_what_is_drawn_at_a_temperature_is_the_same(
    static: Recognizer, free: Recognizer, speech: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where nothing looked right before."""
    monkeypatch.setattr(recognizer.recognizer, "TEMPERATURES", (0.8,))
    samples = to_samples(speech, SAMPLE_RATE)
    ours = static.recognize(samples, ENGLISH)
    assert ours.temperature == 0.8
    assert_same(ours, free.recognize(samples, ENGLISH))


def test_a_doubtful_text_is_judged_as_without(static: Recognizer, free: Recognizer, speech: bytes) -> None:
    """And what is listened to, with all that is written of it later, is as if nobody had asked about silence."""
    samples = to_samples(speech, SAMPLE_RATE)
    whole = static.recognize(samples, ENGLISH)
    log_odds = []
    for recogniser in (static, free):
        network, judge = recogniser.parts.network, recogniser.parts.judge
        with torch.inference_mode():
            network.listen(torch.from_numpy(samples), N_SAMPLES)
        heard = network.decoder.heard
        tokenizer = get_tokenizer(multilingual=True, language="en")
        tokens = text_tokens(tokenizer, whole.text)
        signs = [judge.signs(tokenizer, tokens, samples) for _ in range(2)]
        log_odds += [said(one) for one in signs if one is not None]
        assert network.decoder.heard is heard
    assert log_odds == pytest.approx([log_odds[0]] * 4, abs=1e-2)
    assert log_odds[0] > 0
    assert static.recognize(samples, ENGLISH) == whole


def ticks(recogniser: Recognizer, samples: Samples) -> List[Partial]:
    live = LiveText(recogniser)
    live.begin(Request(language="en"))
    return [live.tick(samples[:end]) for end in range(SAMPLE_RATE // 2, len(samples) + 1, SAMPLE_RATE // 2)]


def test_live_text_is_the_same(static: Recognizer, free: Recognizer, graphs: FakeGraphs, speech: bytes) -> None:
    """With looks by beam search, over sound of every length."""
    samples = to_samples(speech, SAMPLE_RATE)[: int(5.5 * SAMPLE_RATE)]
    before = graphs.captures
    ours = ticks(static, samples)
    assert graphs.captures > before
    assert ours == ticks(free, samples)
    assert "failed" in ours[-1].stable.lower()


def test_a_recognition_is_cancelled_between_pieces_of_work(static: Recognizer, speech: bytes) -> None:
    samples = to_samples(speech, SAMPLE_RATE)
    before = static.recognize(samples, ENGLISH)
    for n in (0, 1, 2, 7):
        calls = iter(range(n))
        with pytest.raises(Cancelled):
            static.recognize(samples, ENGLISH, lambda calls=calls: next(calls, None) is None)  # type: ignore[misc]
    assert static.recognize(samples, ENGLISH) == before


def test_what_is_slow_the_first_time_is_done_before_the_first_utterance(
    speech: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognizer.network, "_WINDOWS_S", (2, 5))
    graphs = FakeGraphs()
    recogniser = Recognizer(RecognizerSettings(compute="float32"), threads=1, runner=graphs)
    recogniser.warm_up()
    captures = graphs.captures
    for duration_s in (0.5, 3.0, 9.0):
        assert recogniser.recognize(to_samples(speech, SAMPLE_RATE)[: int(duration_s * SAMPLE_RATE)], Request("en"))
    assert graphs.captures == captures
