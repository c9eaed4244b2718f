"""Encoder and decoder together: sound in, decoding out; with shapes as they come, or with fixed ones.

On the processor each utterance has its own shapes, as nothing is cheaper there. On a card starting a kernel costs more
than what it computes, so work of a few fixed shapes is captured and replayed (static.py, graphs.py).
"""

from abc import ABC, abstractmethod
from typing import Callable, Optional, Sequence, Tuple

import torch
import whisper
from torch import Tensor
from torch.nn.functional import pad
from whisper.decoding import DecodingOptions

from recognizer.audio import SAMPLE_RATE
from recognizer.decoder import FastDecoder, FastTask
from recognizer.encoder import POSITION_SAMPLES, FastEncoder
from recognizer.graphs import Runner
from recognizer.mel import log_mel
from recognizer.static import StaticDecoder, StaticTask
from recognizer.windows import windows_of

# Seconds of sound that the encoder is captured for, below all that it hears, as far as it may have such a window: each
# is memory, and a moment at the start.
_WINDOWS_S = (2, 4, 6, 8, 10, 15, 20)


class Network(ABC):
    """A Whisper model that listens and writes, one utterance at a time.

    Args:
        model: for its sizes.
        encoder: has learnt silence, if it may (windows.py).
        decoder: of the same model.
    """

    def __init__(self, model: whisper.Whisper, encoder: FastEncoder, decoder: FastDecoder) -> None:
        self.model, self.encoder, self.decoder = model, encoder, decoder

    @abstractmethod
    def window(self, n_samples: int) -> int:
        """How many samples the encoder sees where it is to see so many: no less."""

    @abstractmethod
    def listen(self, samples: Tensor, window_samples: int) -> None:
        """Begin an utterance of 16 kHz samples on the host, of which so many are heard, with silence behind them.

        `window_samples` is from `window`.
        """

    def listen_freely(self, samples: Tensor, window_samples: int) -> None:
        """As `listen`, with shapes as they come: what is heard lies in memory that nothing is written to later."""
        weight = self.encoder.conv1.weight
        padded = whisper.pad_or_trim(samples, window_samples)
        mel = log_mel(padded, self.model.dims.n_mels).to(weight.device, weight.dtype)
        self.decoder.listen(self.encoder(mel).to(self.decoder.dtype))

    @abstractmethod
    def task(self, options: DecodingOptions, before_step: Callable[[], None], prefix: Sequence[int] = ()) -> FastTask:
        """A decoding of what the decoder listens to; arguments as of FastTask."""

    @property
    def prepared_windows(self) -> Tuple[int, ...]:
        """Samples of each window that is slow the first time."""
        return ()


class FreeNetwork(Network):
    """Shapes as they come."""

    def window(self, n_samples: int) -> int:
        """As of Network: so many."""
        return n_samples

    def listen(self, samples: Tensor, window_samples: int) -> None:
        """As of Network."""
        self.listen_freely(samples, window_samples)

    def task(self, options: DecodingOptions, before_step: Callable[[], None], prefix: Sequence[int] = ()) -> FastTask:
        """As of Network."""
        return FastTask(self.model, options, self.decoder, before_step, prefix)


class StaticNetwork(Network):
    """Fixed shapes, in work that `runner` may capture.

    Args:
        n_rows: the most hypotheses at once.
        model, encoder, decoder: as of Network.
        runner: of the work.
    """

    def __init__(
        self, model: whisper.Whisper, encoder: FastEncoder, decoder: FastDecoder, n_rows: int, runner: Runner
    ) -> None:
        super().__init__(model, encoder, decoder)
        self._runner = runner
        whole: int = len(encoder.positions) * POSITION_SAMPLES
        floor_s = windows_of(encoder).floor_s
        shorter = [window_s * SAMPLE_RATE for window_s in _WINDOWS_S if window_s >= floor_s]
        self._windows: Tuple[int, ...] = (*(window for window in shorter if window < whole), whole)
        positions = [window // POSITION_SAMPLES for window in self._windows]
        self._static = StaticDecoder(model, decoder, n_rows, positions, runner)
        self._samples = torch.zeros(whole, device=encoder.positions.device)

    @property
    def prepared_windows(self) -> Tuple[int, ...]:
        """As of Network."""
        return self._windows

    def window(self, n_samples: int) -> int:
        """As of Network: the next that work is made for."""
        return min(window for window in self._windows if window >= n_samples)

    def listen(self, samples: Tensor, window_samples: int) -> None:
        """As of Network."""
        self._samples[:window_samples] = pad(samples[:window_samples], (0, max(0, window_samples - len(samples))))
        self._runner.run(("listen", window_samples), lambda: self._listen(window_samples))
        self._static.listen(window_samples // POSITION_SAMPLES)

    def task(self, options: DecodingOptions, before_step: Callable[[], None], prefix: Sequence[int] = ()) -> FastTask:
        """As of Network."""
        return StaticTask(self.model, options, self._static, before_step, prefix)

    def _listen(self, window_samples: int) -> None:
        mel = log_mel(self._samples[:window_samples], self.model.dims.n_mels)
        features = self.encoder(mel.to(self.encoder.conv1.weight.dtype))
        self._static.remember(features.to(self.decoder.dtype))


def network_for(
    model: whisper.Whisper, encoder: FastEncoder, decoder: FastDecoder, n_rows: int, runner: Optional[Runner]
) -> Network:
    """Fixed shapes where there is a runner of them; arguments as of StaticNetwork."""
    if runner is None:
        return FreeNetwork(model, encoder, decoder)
    return StaticNetwork(model, encoder, decoder, n_rows, runner)
