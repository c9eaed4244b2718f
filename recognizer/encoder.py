"""Whisper's audio encoder over the sound that there is, instead of always 30 s.

Whisper has only ever seen windows of 30 s, mostly padded with silence, and repeats itself or writes on when that
silence is missing: a window cut at the end of the speech doubles the errors. But what the encoder makes of silence
hardly depends on the speech before it. `learn_silence` therefore runs 30 s of it once and keeps, of each layer, the
keys and values of every `SILENCE_STRIDE`-th position; a shorter window attends to those where its padding would have
been. The decoder listens to the window alone. Which models may have such windows is in windows.py.
"""

import math
from typing import Iterator, Optional, Tuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, gelu
from whisper.audio import HOP_LENGTH
from whisper.model import AudioEncoder, ResidualAttentionBlock

from recognizer.attention import attend
from recognizer.compiled.library import Library
from recognizer.compiled.sound import CompiledEntrance, CompiledLayer, compile_layers
from recognizer.layers import FeedForward, Norm, join_heads, plain_linear, split_heads

FRAMES_PER_POSITION = 2  # of log-mel
POSITION_SAMPLES = FRAMES_PER_POSITION * HOP_LENGTH
SILENCE_STRIDE = 8
SILENCE_WEIGHT = math.log(SILENCE_STRIDE)  # on the score of a position that stands for so many
# Log-mel of what is 80 dB below the loudest, where that is speech at a usual level (`whisper.log_mel_spectrogram`
# cuts there). One level does for all: matched to each utterance it was no better (docs/benchmarks.md).
_SILENT_MEL = -0.6


class _Layer(nn.Module):
    """One block of the encoder, and its keys and values of silence: (1, n_head, positions, n_state / n_head)."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        attention = block.attn
        self.n_head = attention.n_head
        self.norm = Norm(block.attn_ln)
        self.qkv = plain_linear(attention.query, attention.key, attention.value)
        self.out = plain_linear(attention.out)
        self.feed_forward = FeedForward(block)
        self.silent_keys: Optional[Tensor]
        self.silent_values: Optional[Tensor]
        self.register_buffer("silent_keys", None)
        self.register_buffer("silent_values", None)
        self.compiled: Optional[CompiledLayer] = None  # what computes it, where that is not torch

    def learn_silence(self, x: Tensor) -> None:
        """Keep keys and values of `x` (1, positions, n_state)."""
        _, keys, values = self.qkv(self.norm(x)).chunk(3, dim=-1)
        self.silent_keys = split_heads(keys, self.n_head).contiguous()
        self.silent_values = split_heads(values, self.n_head).contiguous()

    def silence(self) -> Tuple[Tensor, Tensor]:
        """Keys and values of what was learnt; of no position where nothing was."""
        if self.silent_keys is None or self.silent_values is None:
            n_state = len(self.norm.weight)
            nothing = self.norm.weight.new_empty(1, self.n_head, 0, n_state // self.n_head)
            return nothing, nothing
        return self.silent_keys, self.silent_values

    def forget_silence(self) -> None:
        """Undo `learn_silence`."""
        self.silent_keys = self.silent_values = None

    def forward(self, x: Tensor, weights: Optional[Tensor]) -> Tensor:
        """`x` (1, n_ctx, n_state); `weights` (1, 1, n_ctx, n_ctx + n) is added to the scores, the last n of silence.

        Compiled code works in the memory of `x`.
        """
        if self.compiled is not None:
            self._hear(self.compiled, x, 0 if weights is None else weights.shape[-1] - x.shape[1])
            return x
        query, key, value = (split_heads(part, self.n_head) for part in self.qkv(self.norm(x)).chunk(3, dim=-1))
        if weights is not None:
            silent_keys, silent_values = self.silence()
            first = silent_keys.shape[2] - (weights.shape[-1] - x.shape[1])
            key = torch.cat((key, silent_keys[:, :, first:]), dim=2)
            value = torch.cat((value, silent_values[:, :, first:]), dim=2)
        x = x + self.out(join_heads(attend(query, key, value, weights)))
        fed: Tensor = self.feed_forward(x)
        return fed

    def _hear(self, compiled: CompiledLayer, x: Tensor, n_silent: int) -> None:
        silence = self.silence()
        _, n_head, n_learnt, n_dim = silence[0].shape
        kept = x.new_empty(2, n_head, n_silent + x.shape[1], n_dim)
        for half, learnt in zip(kept, silence):
            half[:, :n_silent] = learnt[0, :, n_learnt - n_silent :]
        compiled.hear(x, kept, n_silent, 0, n_silent)


class _Convolution(nn.Module):
    """One of the two at the entrance, with its activation."""

    def __init__(self, convolution: nn.Conv1d, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(convolution.weight.detach(), requires_grad=False)
        self.bias = nn.Parameter(cast(Tensor, convolution.bias).detach(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (1, n_in, length)."""
        return gelu(conv1d(x, self.weight, self.bias, stride=self.stride, padding=1))


class FastEncoder(nn.Module):
    """The encoder of a Whisper model, in the precision of its weights."""

    def __init__(self, encoder: AudioEncoder) -> None:
        super().__init__()
        self.conv1, self.conv2 = _Convolution(encoder.conv1, stride=1), _Convolution(encoder.conv2, stride=2)
        self.positions = nn.Parameter(encoder.positional_embedding.detach(), requires_grad=False)
        self.layers = nn.ModuleList(_Layer(block) for block in encoder.blocks)
        self.norm = Norm(encoder.ln_post)
        self._entrance: Optional[CompiledEntrance] = None  # what computes it, where that is not torch

    def learn_silence(self) -> None:
        """Hear the model's whole window of silence, for the windows shorter than that."""
        n_mels = self.conv1.weight.shape[1]
        x = self._embed(self.positions.new_full((n_mels, 2 * len(self.positions)), _SILENT_MEL))
        for layer in self._blocks():
            layer.learn_silence(x[:, ::SILENCE_STRIDE])
            x = layer(x, None)

    @property
    def knows_silence(self) -> bool:
        """Whether it hears silence behind a window that is shorter than the model's."""
        return next(self._blocks()).silent_keys is not None

    def forget_silence(self) -> None:
        """Undo `learn_silence`."""
        for layer in self._blocks():
            layer.forget_silence()

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel (n_mels, n_frames), any even number up to the model's window → (n_frames / 2, n_state).

        With silence behind it, where that was learnt.
        """
        x = self._embed(mel)
        weights = self._weights_of_silence(x.shape[1])
        for layer in self._blocks():
            x = layer(x, weights)
        normed: Tensor = self.norm(x)
        return normed[0]

    def compile(self, library: Library) -> None:
        """Compute in int8, and layers by compiled code; its weights are in float32 until then."""
        layers = list(self._blocks())
        self._entrance = CompiledEntrance(library, (self.conv1, self.conv2))
        for layer, compiled in zip(layers, compile_layers(library, layers, SILENCE_WEIGHT)):
            layer.compiled = compiled

    @property
    def is_compiled(self) -> bool:
        """Whether `compile` was called."""
        return self._entrance is not None

    def _blocks(self) -> Iterator[_Layer]:
        return cast(Iterator[_Layer], iter(self.layers))

    def _embed(self, mel: Tensor) -> Tensor:
        return self._embed_at(mel, 0)

    def _embed_at(self, mel: Tensor, first: int) -> Tensor:
        if self._entrance is not None:
            return self._entrance.embed(mel, self.positions[first : first + mel.shape[1] // FRAMES_PER_POSITION])
        x: Tensor = self.conv2(self.conv1(mel[None])).transpose(1, 2)
        return x + self.positions[first : first + x.shape[1]]

    def _weights_of_silence(self, n_ctx: int) -> Optional[Tensor]:
        """Scores that make each kept position behind a window count for all that it stands for."""
        n_silent = (len(self.positions) - n_ctx) // SILENCE_STRIDE
        if n_silent == 0 or not self.knows_silence:
            return None
        weights = self.positions.new_zeros(n_ctx + n_silent)
        weights[n_ctx:].fill_(SILENCE_WEIGHT)
        return weights.expand(1, 1, n_ctx, -1)
