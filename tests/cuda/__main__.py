"""Devices and shapes of all that runs on a card: the whole way from weights and sound to text and live text.

Tensors here have a device, a shape and no content (`FakeTensorMode`). Every operation checks that its arguments are on
one device and fit each other, as it would on a card. What the program asks a tensor for is made up, so what is
"recognised" means nothing; each question counts, as on a card the host would wait for it.
"""

import contextlib
import sys
from typing import Any, Callable, Iterator
from unittest.mock import patch

import numpy as np
import torch
import whisper
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.distributions import Distribution

from recognizer import loading
from recognizer.audio import SAMPLE_RATE, Samples
from recognizer.catalog import AUTO_LANGUAGE
from recognizer.devices import count_cards_aside, find_devices
from recognizer.graphs import Uncaptured
from recognizer.live import LiveText
from recognizer.precision import choose_precision
from recognizer.recognizer import Recognizer
from recognizer.request import Context, Request
from recognizer.settings import RecognizerSettings
from recognizer.weights import Skeleton

CARD = torch.device("cuda:0")
SECONDS = (0.5, 1.5)
# Shapes are what counts, and each operation takes a moment here: the two sizes that differ most, and of turbo as many
# layers as it takes for one to follow another.
DIMS = {
    "base": whisper.ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6),
    "turbo, two layers": whisper.ModelDimensions(128, 1500, 1280, 20, 2, 51866, 448, 1280, 20, 2),
}


class Card(FakeTensorMode):  # type: ignore[no-untyped-call]
    """Tensors without content, and made-up answers to who asks for it; `questions` counts those."""

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.questions = 0
        self._last = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.questions += args[0].device.type == CARD.type
            return self._answer(args[0].dtype)
        if func is torch.ops.aten.nonzero.default:  # how many there are is a question, too
            self.questions += args[0].device.type == CARD.type
            return args[0].new_zeros((1, args[0].dim()), dtype=torch.long)
        to = torch.device((kwargs or {}).get("device") or "cpu")
        if func is torch.ops.aten.copy_.default:
            self.questions += args[1].device.type == CARD.type != args[0].device.type
        elif func is torch.ops.aten._to_copy.default and "device" in kwargs:
            self.questions += args[0].device.type == CARD.type != to.type
        if to.type == CARD.type and args and isinstance(args[0], FakeTensor):
            args[0].constant = None  # what is known of small tensors would be tried on a real card
        return super().__torch_dispatch__(func, types, args, kwargs)

    @property
    def made_up(self) -> Callable[[torch.Tensor], Any]:
        """In place of `Tensor.tolist`: one question."""

        def made_up(tensor: torch.Tensor) -> Any:
            self.questions += tensor.device.type == CARD.type
            if tensor.dim() == 3 or tensor.dtype is torch.float64:  # rows and counts of a search: the first, none
                return np.zeros(tensor.shape, float if tensor.dtype.is_floating_point else int).tolist()
            answers = np.array([self._answer(tensor.dtype) for _ in range(tensor.numel())])
            return answers.reshape(tensor.shape).tolist()

        return made_up

    def _answer(self, dtype: torch.dtype) -> Any:
        """Never the same number twice in a row, as hypotheses of a beam differ: tokens, or one of 99 languages."""
        self._last = (self._last + 1) % 38
        if dtype is torch.bool:
            return False
        return -0.001 * self._last if dtype.is_floating_point else 60 + self._last


class Ears:
    """In place of Silero VAD, which stays on the host."""

    def hears_speech(self, samples: Any) -> bool:
        return True


def main() -> int:
    """Run it; the exit status."""
    if torch.version.cuda is None:
        print("this torch has no CUDA; run `make check-cuda`", file=sys.stderr)
        return 1
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}")
    found = count_cards_aside()
    assert not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    print(f"cards that are there: {found}; asking has not started CUDA here")
    assert found or [one.type for one in find_devices("auto", lambda: found)] == ["cpu"]
    for size, dims in DIMS.items():
        for beam_size in (1, 5):
            print(f"{size}, beam {beam_size}: {check(size, dims, beam_size)}", flush=True)
    assert not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return 0


def check(size: str, dims: whisper.ModelDimensions, beam_size: int) -> str:
    """Run everything once; returns what was counted."""
    Distribution.set_default_validate_args(False)  # it looks into tensors
    with Card() as card, on_the_host(card):
        recognizer = lent_recognizer(dims, beam_size)
        steps = recognize_all(recognizer)
        asked = card.questions
        look_at_all(recognizer)
        return f"{asked / steps:.1f} questions an utterance, {card.questions - asked} in live text"


@contextlib.contextmanager
def on_the_host(card: Card) -> Iterator[None]:
    """What looks into tensors on the host, and would find nothing there."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(patch("recognizer.recognizer.SpeechDetector", Ears))
        stack.enter_context(patch("whisper.decoding.np.argsort", lambda values: list(range(len(values)))))
        stack.enter_context(patch.object(FakeTensor, "tolist", card.made_up))
        stack.enter_context(patch.object(FakeTensor, "numpy", lambda tensor: np.zeros(tensor.shape, np.float32)))
        yield


def lent_recognizer(dims: whisper.ModelDimensions, beam_size: int) -> Recognizer:
    """One that computes with what another process could have loaded; every tensor is where it should be."""
    precision = choose_precision("auto", CARD)
    heads = tuple((dims.n_text_layer - 1, head) for head in range(3))
    with patch("recognizer.loading.map_weights", lambda _: weights(dims)), patch(
        "recognizer.loading.alignment_heads", lambda _: heads
    ):
        loan = loading.prepare("any", CARD, precision)
    loaded = loading.borrow(loan, beam_size)
    for half in (loaded.encoder, loaded.decoder):
        tensors = {**dict(half.named_parameters()), **dict(half.named_buffers())}
        assert [name for name, tensor in tensors.items() if tensor.device != CARD] == []
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    return Recognizer(RecognizerSettings(beam_size=beam_size), threads=1, loaded=loaded, runner=Uncaptured())


def weights(dims: whisper.ModelDimensions) -> Skeleton:
    """On the host, in half precision, as the published files have them."""
    skeleton = Skeleton(dims)
    state = {name: torch.empty(tensor.shape, dtype=torch.float16) for name, tensor in skeleton.state_dict().items()}
    skeleton.load_state_dict(state, assign=True)
    return skeleton


def recognize_all(recognizer: Recognizer) -> int:
    """Utterances of every kind; returns how many."""
    asked = list(requests())
    for seconds in SECONDS:
        for request in asked:
            recognizer.recognize(noise(seconds), request)
    return len(SECONDS) * len(asked)


def requests() -> Iterator[Request]:
    """Each of the ways that an utterance is recognised."""
    yield Request("ko")
    yield Request(AUTO_LANGUAGE, words=True)
    yield Request("en", prompt="Beckett", words=True, context=Context(noise(4.0), 0.5, "Ever tried.", "en"))


def look_at_all(recognizer: Recognizer) -> None:
    """An utterance that grows, as live text looks at it."""
    live = LiveText(recognizer)
    for language in ("ko", AUTO_LANGUAGE):
        live.begin(Request(language))
        for tenths in range(6, 30, 6):
            live.tick(noise(tenths / 10))
    live.clear()


def noise(seconds: float) -> Samples:
    """Sound of that length, on the host."""
    generator = np.random.default_rng(0)
    return generator.normal(0, 0.01, int(seconds * SAMPLE_RATE)).astype(np.float32)


if __name__ == "__main__":
    sys.exit(main())
