"""An utterance that grows, encoded as it comes.

Encoding all of it anew for each look costs more the longer it is. Here each layer's keys and values of what has been
heard are kept, and only the positions of the last `guard_s` seconds and of what is new are computed again: older ones
have heard enough of what follows them (docs/benchmarks.md). Good enough for live text; a result is encoded as a whole.
"""

import math
from typing import Any, Callable, Iterator, List, Optional, Tuple, cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from recognizer.attention import attend
from recognizer.decoder import FastDecoder
from recognizer.encoder import FRAMES_PER_POSITION, POSITION_SAMPLES, SILENCE_STRIDE, SILENCE_WEIGHT, FastEncoder
from recognizer.layers import join_heads, split_heads
from recognizer.mel import RANGE, log_power
from recognizer.windows import Windows

POSITIONS_PER_S = 50

_EDGE = 2  # positions: what the convolutions and the Fourier transform see beyond what they are asked for
_ROOM = 250  # positions that memory grows by


class _Memory:
    """Keys and values of one layer, (1, n_head, positions, n_state / n_head) each, in memory that grows in steps."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self._kept = torch.stack((keys, values))
        self._length = self._kept.shape[3]
        self._first = self._length

    def room(self, start: int, n: int) -> Tuple[Tensor, int]:
        """Memory (2, n_head, positions, n_state / n_head) with room for n from `start` on, and where that is in it."""
        first = self._first + start
        missing = first + n - self._kept.shape[3]
        if missing > 0:
            self._kept = pad(self._kept, (0, 0, 0, -(-missing // _ROOM) * _ROOM))
        return self._kept[:, 0], first

    def put(self, start: int, keys: Tensor, values: Tensor) -> Tuple[Tensor, Tensor]:
        """Positions from `start` on are these; returns all up to their end, what was there at first before them."""
        kept, first = self.room(start, keys.shape[2])
        end = first + keys.shape[2]
        kept[0, :, first:end] = keys[0]
        kept[1, :, first:end] = values[0]
        return kept[:1, :, :end], kept[1:, :, :end]


class GrowingSound:
    """What encoder and decoder have heard of one open utterance.

    Args:
        encoder: has learnt silence, if it may (windows.py).
        decoder: that is to listen.
        guard_s: of sound that is computed again each time.
        windows: that the encoder may have, up to all that it hears.
    """

    def __init__(self, encoder: FastEncoder, decoder: FastDecoder, guard_s: float, windows: Windows) -> None:
        self._encoder, self._decoder, self._windows = encoder, decoder, windows
        self._guard = int(guard_s * POSITIONS_PER_S)
        self._memories = [_Memory(*layer.silence()) for layer in self._encoder_layers()]
        self._heard_memories: List[_Memory] = []
        self._n_silent = -(-len(encoder.positions) // SILENCE_STRIDE) if encoder.knows_silence else 0
        self._settled = 0  # positions whose keys and values are kept
        self._loudest = -math.inf  # log-mel so far
        self.heard: List[Tuple[Tensor, Tensor]] = []
        self.positions = 0

    def forget(self) -> None:
        """What was settled is computed anew at the next `extend`."""
        self._settled = 0

    def extend(self, samples: Tensor, check_cancelled: Callable[[], None]) -> None:
        """Hear all `samples` of the utterance so far; `heard` is then what a FastDecoder listens to.

        `check_cancelled` is called before each layer, and may raise: then nothing has changed.
        """
        start, n_sound = self._settled, len(samples) // POSITION_SAMPLES
        x = self._embed(samples, start)
        n_ctx = start + x.shape[1]
        n_silent = (len(self._encoder.positions) - n_ctx) // SILENCE_STRIDE if self._n_silent else 0
        weights = None if self._encoder.is_compiled else self._weights_of_silence(n_ctx, n_silent)
        for layer, memory in zip(self._encoder_layers(), self._memories):
            check_cancelled()
            if layer.compiled is not None:
                kept, place = memory.room(start, x.shape[1])
                layer.compiled.hear(x, kept, place, self._n_silent - n_silent, n_silent)
                continue
            query, key, value = (split_heads(part, layer.n_head) for part in layer.qkv(layer.norm(x)).chunk(3, dim=-1))
            keys, values = memory.put(start, key, value)
            x = x + layer.out(join_heads(attend(query, keys, values, weights)))
            x = layer.feed_forward(x)
        check_cancelled()
        features = self._encoder.norm(x)[0].to(self._decoder.dtype)
        self.heard = self._listen(features, start)
        self.positions = n_sound
        self._settled = max(self._settled, n_sound - self._guard)

    def _listen(self, features: Tensor, start: int) -> List[Tuple[Tensor, Tensor]]:
        heard = []
        for index, (keys, values) in enumerate(self._decoder.listened(features)):
            if index == len(self._heard_memories):
                self._heard_memories.append(_Memory(keys[:, :, :0], values[:, :, :0]))
            heard.append(self._heard_memories[index].put(start, keys, values))
        return heard

    def _encoder_layers(self) -> Iterator[Any]:
        return cast(Iterator[Any], iter(self._encoder.layers))

    def _embed(self, samples: Tensor, start: int) -> Tensor:
        """Log-mel and convolutions of the positions from `start` on: (1, positions, n_state)."""
        first = max(0, start - _EDGE)
        mel = self._log_mel(samples, first)
        embedded: Tensor = self._encoder._embed_at(mel, first)
        return embedded[:, start - first :]

    def _log_mel(self, samples: Tensor, first: int) -> Tensor:
        """`whisper.log_mel_spectrogram` of positions from `first` on; the loudest so far is the measure."""
        edge = min(first, _EDGE)
        sound = samples[(first - edge) * POSITION_SAMPLES :]
        whole = -(-len(sound) // POSITION_SAMPLES) * POSITION_SAMPLES
        sound = pad(sound, (0, whole - len(sound) + self._margin(len(samples)) * POSITION_SAMPLES))
        weight = self._encoder.conv1.weight
        power = log_power(sound.to(weight.device), n_mels=weight.shape[1])[:, edge * FRAMES_PER_POSITION :]
        self._loudest = max(self._loudest, float(power.max()))
        mel: Tensor = (power.clamp(min=self._loudest - RANGE) + 4.0) / 4.0
        return mel.to(weight.dtype)

    def _margin(self, n_samples: int) -> int:
        """Positions of silence behind so much sound."""
        n_sound: int = -(-n_samples // POSITION_SAMPLES)
        window: int = self._windows.samples(n_samples) // POSITION_SAMPLES
        whole: int = len(self._encoder.positions)
        return min(window, whole) - n_sound

    def _weights_of_silence(self, n_ctx: int, n_silent: int) -> Optional[Tensor]:
        """As FastEncoder has them, with silence before the sound: attention knows no order."""
        if self._n_silent == 0:
            return None
        weights = self._encoder.positions.new_zeros(self._n_silent + n_ctx)
        weights[: self._n_silent] = SILENCE_WEIGHT
        weights[: self._n_silent - n_silent] = -math.inf
        return weights[None, None, None]
