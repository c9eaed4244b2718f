"""Live text of a real model: it appears while somebody speaks, and only grows."""

import gc
import weakref
from typing import Callable, List

import numpy as np
import pytest
import torch

from recognizer.audio import SAMPLE_RATE, Samples
from recognizer.doubt import Signs
from recognizer.encoder import POSITION_SAMPLES
from recognizer.hearing import GrowingSound
from recognizer.judge import Judge
from recognizer.live import LiveText, Partial
from recognizer.recognizer import Cancelled, Recognizer
from recognizer.request import Context, Request
from recognizer.settings import RecognizerSettings
from recognizer.voice import VOICE
from recognizer.windows import Windows

STEP = SAMPLE_RATE // 2
WINDOWS = Windows(0.0, 1.0, step_samples=POSITION_SAMPLES)
ENGLISH = Request(language="en")


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(RecognizerSettings(), threads=1)


@pytest.fixture
def live(recognizer: Recognizer) -> LiveText:
    return LiveText(recognizer)


def ticks(live: LiveText, samples: Samples) -> List[Partial]:
    return [live.tick(samples[:end]) for end in range(STEP, len(samples) + 1, STEP)]


def test_a_sentence_appears_and_what_is_stable_only_grows(live: LiveText, samples: Samples) -> None:
    live.begin(ENGLISH)
    shown = ticks(live, samples)
    assert all(later.stable.startswith(earlier.stable) for earlier, later in zip(shown, shown[1:]))
    assert "ever failed" in shown[-2].stable.lower()
    assert shown[-1].stable == shown[-1].stable.strip()


def test_nothing_is_shown_for_noise_and_silence(live: LiveText) -> None:
    live.begin(ENGLISH)
    noise = np.random.default_rng(1).normal(0, 0.1, 3 * SAMPLE_RATE).astype(np.float32)
    assert ticks(live, noise) == [Partial("", "")] * 6
    live.begin(ENGLISH)
    assert ticks(live, np.zeros(2 * SAMPLE_RATE, np.float32)) == [Partial("", "")] * 4


@pytest.mark.parametrize("is_said", [False, True])
def test_what_whisper_is_not_sure_of_is_shown_only_where_the_judge_takes_it_for_said(
    live: LiveText, samples: Samples, monkeypatch: pytest.MonkeyPatch, is_said: bool
) -> None:
    monkeypatch.setattr("recognizer.live.is_sure", lambda *_: False)
    signs = Signs(heard=0.0, heard_in_all=100.0 if is_said else -100.0, remembered=(0.0,) * len(VOICE))
    monkeypatch.setattr(Judge, "signs", lambda *_: signs)
    live.begin(ENGLISH)
    shown = ticks(live, samples)
    assert any(partial.stable for partial in shown) == is_said
    assert any(partial.unstable for partial in shown) == is_said


def test_an_utterance_begins_with_nothing_of_the_one_before(live: LiveText, samples: Samples) -> None:
    live.begin(ENGLISH)
    first = ticks(live, samples)
    live.begin(ENGLISH)
    assert ticks(live, samples) == first


def cancelled_at(n: int) -> Callable[[], bool]:
    calls = iter(range(n))
    return lambda: next(calls, None) is None


@pytest.mark.parametrize("n", [0, 3, 6, 7])
def test_a_tick_that_is_cancelled_leaves_a_state_that_goes_on(live: LiveText, samples: Samples, n: int) -> None:
    live.begin(ENGLISH)
    undisturbed = ticks(live, samples[: 6 * STEP])
    live.begin(ENGLISH)
    assert ticks(live, samples[: 5 * STEP]) == undisturbed[:5]
    with pytest.raises(Cancelled):
        live.tick(samples[: 6 * STEP], cancelled_at(n))
    again = live.tick(samples[: 6 * STEP])
    assert again.stable.startswith(undisturbed[4].stable)
    assert len(again.stable) + len(again.unstable) > 0


def test_a_recognition_in_between_changes_nothing(recognizer: Recognizer, live: LiveText, samples: Samples) -> None:
    live.begin(ENGLISH)
    undisturbed = ticks(live, samples[: 6 * STEP])
    live.begin(ENGLISH)
    ticks(live, samples[: 5 * STEP])
    before = recognizer.recognize(samples, ENGLISH)
    assert live.tick(samples[: 6 * STEP]) == undisturbed[5]
    assert recognizer.recognize(samples, ENGLISH) == before


def test_what_is_recognised_in_a_pause_stays_and_speech_goes_on_from_there(live: LiveText, samples: Samples) -> None:
    live.begin(ENGLISH)
    ticks(live, samples[: 4 * STEP])
    settled = live.settle("Ever tried.")
    assert settled.stable.lower() == "ever tried"
    assert live.tick(samples).stable.startswith(settled.stable)


def test_where_the_decoder_takes_no_more_nothing_is_shown(live: LiveText, samples: Samples) -> None:
    """Beside the longest prompt, the text of thirty seconds in a language with many tokens a second fills it."""
    live.begin(Request(language="en", prompt="Beckett wrote Worstward Ho. " * 70))
    live.settle(" ".join(str(number) for number in range(100, 330)))
    assert live.tick(samples) == Partial("", "")


def test_what_is_recognised_before_the_first_look_stays_too(live: LiveText, samples: Samples) -> None:
    live.begin(ENGLISH)
    assert live.settle("Ever tried.") == Partial("Ever tried", "")
    assert "failed" in live.tick(samples).unstable.lower() + live.tick(samples).stable.lower()


def test_a_result_that_contradicts_what_is_stable_is_not_taken(live: LiveText, samples: Samples) -> None:
    live.begin(ENGLISH)
    shown = ticks(live, samples)[-1]
    assert live.settle("Something else was said.").stable == shown.stable


def test_words_behind_a_limit_do_not_become_stable(live: LiveText, samples: Samples) -> None:
    live.begin(ENGLISH)
    shown = [live.tick(samples[:end], stable_until_s=0.2) for end in range(STEP, len(samples), STEP)]
    assert shown[-1].stable == ""
    assert "failed" in shown[-1].unstable.lower()


def test_words_that_were_left_to_an_utterance_are_in_its_text(live: LiveText, samples: Samples) -> None:
    cut = int(1.0 * SAMPLE_RATE)
    context = Context(samples[:cut], held_s=1.0, text="", language="en")
    live.begin(Request(language="en", context=context))
    shown = ticks(live, samples[cut:])[-1]
    assert "tried" in f"{shown.stable} {shown.unstable}".lower().split(",")[0].split(".")[0]


def test_what_is_longer_than_the_encoder_hears_changes_nothing(live: LiveText, samples: Samples) -> None:
    long = np.tile(samples, 6)
    live.begin(ENGLISH)
    shown = live.tick(long[: 29 * SAMPLE_RATE])
    assert shown != Partial("", "")
    assert [live.tick(long[: int(end_s * SAMPLE_RATE)]) for end_s in (29.1, 31.5)] == [shown, shown]


def test_the_language_is_found_out(live: LiveText, samples: Samples) -> None:
    live.begin(Request(language="auto"))
    assert "failed" in ticks(live, samples)[-1].stable.lower()


def test_nothing_is_kept_of_who_has_left(recognizer: Recognizer, live: LiveText, samples: Samples) -> None:
    live.begin(ENGLISH)
    first = ticks(live, samples)
    heard = weakref.ref(live._sound)
    assert heard() is not None
    live.clear()
    gc.collect()
    assert heard() is None
    assert recognizer.parts.network.decoder.heard == []
    live.begin(ENGLISH)
    assert ticks(live, samples) == first


def test_memory_does_not_grow_with_utterances(live: LiveText, samples: Samples) -> None:
    def kept_bytes() -> int:
        assert live._sound is not None
        memories = (*live._sound._memories, *live._sound._heard_memories)
        return sum(memory._kept.numel() * memory._kept.element_size() for memory in memories)

    live.begin(ENGLISH)
    live.tick(samples)
    once = kept_bytes()
    for _ in range(2):
        live.begin(ENGLISH)
        live.tick(samples)
    assert kept_bytes() == once


@torch.inference_mode()
def test_sound_that_is_heard_bit_by_bit_is_near_to_what_is_heard_at_once(
    recognizer: Recognizer, samples: Samples
) -> None:
    network = recognizer.parts.network
    encoder, decoder = network.encoder, network.decoder
    growing = GrowingSound(encoder, decoder, guard_s=2.0, windows=WINDOWS)
    for end in range(STEP, len(samples) + 1, STEP):
        growing.extend(torch.from_numpy(samples[:end]), lambda: None)
    whole = GrowingSound(encoder, decoder, guard_s=2.0, windows=WINDOWS)
    whole.extend(torch.from_numpy(samples[:end]), lambda: None)
    for (_, values), (_, at_once) in zip(growing.heard, whole.heard):
        assert values.shape == at_once.shape
        assert float((values - at_once).norm() / at_once.norm()) < 0.25


@torch.inference_mode()
def test_sound_heard_at_once_is_what_the_recogniser_hears(recognizer: Recognizer, samples: Samples) -> None:
    network = recognizer.parts.network
    encoder, decoder = network.encoder, network.decoder
    sound = GrowingSound(encoder, decoder, guard_s=2.0, windows=WINDOWS)
    sound.extend(torch.from_numpy(samples), lambda: None)
    network.listen(torch.from_numpy(samples), len(samples) + SAMPLE_RATE)
    for (_, values), (_, theirs) in zip(sound.heard, decoder.heard):
        assert float((values - theirs).norm() / theirs.norm()) < 0.1
