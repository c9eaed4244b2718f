"""Whisper's text decoder, one token at a time without waste.

What openai-whisper's own `Inference` spends its time on is not done here: keys and values live in memory that is
allocated once instead of being concatenated at every token, those of the cross-attention are computed once for an
utterance and shared by all hypotheses (which are the queries of one attention call), query, key and value are one
matrix, the prompt is run once instead of once for each hypothesis, weights are converted once, and a step is traced
(`torch.jit.trace`): a third of its time was Python's.

The decoding loop stays openai-whisper's (`whisper.decoding.DecodingTask`): `FastInference` takes the place of its
`PyTorchInference`, `search.BeamSearch` that of its `BeamSearchDecoder`.
"""

import math
import re
import warnings
from dataclasses import replace
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, scaled_dot_product_attention
from whisper import Whisper
from whisper.decoding import DecodingOptions, DecodingResult, DecodingTask, Inference, LogitFilter, SuppressTokens
from whisper.model import ResidualAttentionBlock, TextDecoder
from whisper.tokenizer import Tokenizer
from whisper.utils import compression_ratio

from recognizer.alignment import Heads, listening, warp
from recognizer.compiled.library import Library
from recognizer.compiled.step import CompiledSteps, Sounds
from recognizer.layers import FeedForward, Norm, join_heads, plain_linear, split_heads
from recognizer.search import BeamSearch, Suppress, best

# A token can hold a part of a character. Where the others do not follow, decoding leaves U+FFFD; also a few tokens of
# the vocabulary spell it, from texts that were torn. A blank beside a character that is gone goes too.
TORN = re.compile("(?<= )\ufffd+ |\ufffd+")

_Offset = Any  # int, or a tensor of one where a step is traced: it becomes an argument there


class _Layer(nn.Module):
    """One block of the decoder."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        attention, cross = block.attn, block.cross_attn
        self.n_head = attention.n_head
        self.attn_norm, self.cross_norm = Norm(block.attn_ln), Norm(block.cross_attn_ln)
        self.qkv = plain_linear(attention.query, attention.key, attention.value)
        self.attn_out = plain_linear(attention.out)
        self.cross_query = plain_linear(cross.query)
        self.cross_kv: nn.Module = plain_linear(cross.key, cross.value)
        self.cross_out = plain_linear(cross.out)
        self.feed_forward = FeedForward(block)

    def listen(self, features: Tensor) -> Tuple[Tensor, Tensor]:
        """Keys and values, (1, n_head, n_audio_ctx, n_state / n_head), of what the encoder heard."""
        keys, values = self.project(features)
        return keys.contiguous(), values.contiguous()

    def project(self, features: Tensor) -> Tuple[Tensor, Tensor]:
        """As `listen`, not yet where attention reads it fastest."""
        keys, values = self.cross_kv(features).chunk(2, dim=-1)
        return split_heads(keys[None], self.n_head), split_heads(values[None], self.n_head)

    def forward(self, x: Tensor, memory: Tensor, heard: Tuple[Tensor, Tensor], offset: _Offset, causal: bool) -> Tensor:
        """`x` (n, length, n_state): tokens from position `offset` on; `causal` where there is more than one.

        `memory` (2, n_rows, n_head, n_ctx, n_state / n_head) has keys and values of the tokens before, and gets these;
        `heard` is from `listen`.
        """
        x = x + self.attend(self.attn_norm(x), memory, offset, causal)
        x = x + self.cross_attend(self.cross_norm(x), heard)
        fed: Tensor = self.feed_forward(x)
        return fed

    def attend(self, x: Tensor, memory: Tensor, offset: _Offset, causal: bool) -> Tensor:
        """What the tokens tell each other; arguments as of `forward`, `x` normalised."""
        n, length = x.shape[:2]
        query, key, value = (split_heads(part, self.n_head) for part in self.qkv(x).chunk(3, dim=-1))
        keys, values = memory[0, :n, :, : offset + length], memory[1, :n, :, : offset + length]
        keys[:, :, offset:], values[:, :, offset:] = key, value
        if causal and offset:  # torch's own mask begins at the first key
            mask = torch.ones(length, offset + length, dtype=torch.bool, device=x.device).tril(offset)
            heard = scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        else:
            heard = scaled_dot_product_attention(query, keys, values, is_causal=causal)
        out: Tensor = self.attn_out(join_heads(heard))
        return out

    def cross_attend(self, x: Tensor, heard: Tuple[Tensor, Tensor], mask: Optional[Tensor] = None) -> Tensor:
        """What the tokens hear; arguments as of `forward`, `x` normalised; `mask` is added to the scores."""
        n, length = x.shape[:2]
        query = split_heads(
            self.cross_query(x).view(1, n * length, -1), self.n_head
        )  # every hypothesis asks the same utterance
        answers = scaled_dot_product_attention(query, *heard, attn_mask=mask)
        out: Tensor = self.cross_out(join_heads(answers).view(n, length, -1))
        return out

    def cross_scores(self, x: Tensor, heard: Tuple[Tensor, Tensor], heads: List[int]) -> Tensor:
        """Where one hypothesis, normalised (1, length, n_state), listens: (len(heads), length, n_audio_ctx)."""
        query = split_heads(self.cross_query(x), self.n_head)[0, heads].float()
        keys = heard[0][0, heads].float()
        scores: Tensor = query @ keys.transpose(1, 2) / math.sqrt(query.shape[-1])
        return scores


class FastDecoder(nn.Module):
    """The decoder of a Whisper model, in the precision of its weights.

    Args:
        decoder: of the model; its weights are shared where they are not stacked.
        n_rows: the most hypotheses at once.
        alignment_heads: layer and head of each that follows the speech (alignment.py).
    """

    def __init__(self, decoder: TextDecoder, n_rows: int, alignment_heads: Heads = ()) -> None:
        super().__init__()
        self.n_rows = n_rows
        self.alignment_heads = alignment_heads
        self.embedding = nn.Parameter(decoder.token_embedding.weight.detach(), requires_grad=False)
        self.positions = nn.Parameter(decoder.positional_embedding.detach(), requires_grad=False)
        self.layers = nn.ModuleList(_Layer(block) for block in decoder.blocks)
        n_head, n_ctx, n_state = decoder.blocks[0].attn.n_head, *self.positions.shape
        memory = self.positions.new_empty(len(self.layers), 2, n_rows, n_head, n_ctx, n_state // n_head)
        self.memory = nn.Parameter(memory, requires_grad=False)
        self.norm = Norm(decoder.ln)
        self.n_vocab = len(self.embedding)
        self.vocabulary = nn.Linear(n_state, self.n_vocab, bias=False, device="meta", dtype=self.embedding.dtype)
        self.vocabulary.weight = self.embedding
        self._heard: Sounds = []  # for each layer, set by `listen`
        self._traced: Any = None
        self._compiled: Optional[CompiledSteps] = None

    def compile(self, library: Library) -> None:
        """Compute in int8, and steps by compiled code; its weights are in float32 until then."""
        self._compiled = CompiledSteps(library, self)
        del self.embedding  # the vocabulary has it, too

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.positions.device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in between its matrices."""
        return self.positions.dtype

    def use_threads(self, threads: int) -> None:
        """Let compiled code compute with so many from now on."""
        if self._compiled is not None:
            self._compiled.use_threads(threads)

    def _blocks(self) -> Iterator[_Layer]:
        return cast(Iterator[_Layer], iter(self.layers))

    def listen(self, features: Tensor) -> None:
        """Begin an utterance: (n_audio_ctx, n_state) from the encoder."""
        if self._compiled is not None:
            self._heard = self._compiled.listen_to(features)
        else:
            self.hear(self.listened(features))

    def listened(self, features: Tensor) -> Sounds:
        """What each layer would hear of those; in bfloat16, where steps are compiled."""
        if self._compiled is not None:
            return self._compiled.listen(features)
        return [layer.listen(features) for layer in self._blocks()]

    @property
    def heard(self) -> Sounds:
        """What each layer listens to, for `hear`: keys and values, or what compiled code has made of a whole sound."""
        return self._heard

    def hear(self, heard: Sounds) -> None:
        """Begin an utterance of which each layer's keys and values are there (hearing.py)."""
        if self._compiled is not None:
            self._compiled.hear(heard)
        self._heard = heard

    def prompt(self, tokens: Tensor, places: Sequence[int]) -> Tensor:
        """Run the tokens (length,) that every hypothesis begins with; returns logits (len(places), n_vocab) there."""
        if self._compiled is not None:
            logits = self._compiled.read(tokens, 0, places)
        else:
            logits = self._logits(self._run(tokens[None], 0, self._heard, causal=True)[0, list(places)])
        self.memory[:, :, 1:, :, : len(tokens)] = self.memory[:, :, :1, :, : len(tokens)]
        return logits

    def step(self, tokens: Tensor, offset: int) -> Tensor:
        """The next token of each hypothesis (n,), at position `offset`; returns logits (n, n_vocab)."""
        if self._compiled is not None:
            return self._compiled.step(tokens, offset)
        if self.device.type != "cpu":  # the fuser there compiles each length anew
            eager: Tensor = self(tokens[:, None], offset, self._heard)[:, 0]
            return eager
        arguments = (tokens[:, None], torch.tensor(offset), self._heard)
        if self._traced is None:
            self._traced = _trace(self, arguments)
        logits: Tensor = self._traced(*arguments)[:, 0]
        return logits

    def forward(self, tokens: Tensor, offset: _Offset, heard: Sounds) -> Tensor:
        """`tokens` (n, length) from position `offset` on → logits (n, length, n_vocab); `heard` is from each layer."""
        return self._logits(self._run(tokens, offset, heard, causal=False))

    def _run(self, tokens: Tensor, offset: _Offset, heard: Sounds, causal: bool) -> Tensor:
        x = self.embedding[tokens] + self.positions[offset : offset + tokens.shape[1]]
        for index, layer in enumerate(self._blocks()):
            x = layer(x, self.memory[index], heard[index], offset, causal)
        return x

    def _logits(self, x: Tensor) -> Tensor:
        logits: Tensor = self.vocabulary(self.norm(x))
        return logits.float()

    @property
    def instructions(self) -> str:
        """Of the processor, that its steps are compiled for; none where torch computes them."""
        return "" if self._compiled is None else self._compiled.name

    def best(self, logits: Tensor, k: int) -> Tuple[Tensor, Tensor]:
        """As `search.best`."""
        return best(logits, k) if self._compiled is None else self._compiled.best(logits, k)

    def listening(self, scores: Tensor, n_positions: int, first: int, least_deviation: float) -> Tensor:
        """As `alignment.listening`."""
        compute = listening if self._compiled is None else self._compiled.listening
        return compute(scores, n_positions, first, least_deviation)

    def warp(self, cost: Tensor) -> List[int]:
        """As `alignment.warp`."""
        return warp(cost) if self._compiled is None else self._compiled.warp(cost)

    def follow(self, tokens: Tensor, offset: int = 0, logits_from: int = 0) -> Tuple[Tensor, Tensor]:
        """As `forward` of one hypothesis (length,), and where its alignment heads listen.

        Logits (length - logits_from, n_vocab), and scores before their softmax (n_alignment_heads, length,
        n_audio_ctx), these on the host: what reads them are many small operations.
        """
        if self._compiled is not None:
            return self._compiled.follow(tokens, offset, logits_from)
        x = (self.embedding[tokens] + self.positions[offset : offset + len(tokens)])[None]
        scores: List[Tensor] = []
        for index, layer in enumerate(self._blocks()):
            x = x + layer.attend(layer.attn_norm(x), self.memory[index], offset, len(tokens) > 1)
            asked = layer.cross_norm(x)
            heads = [head for of_layer, head in self.alignment_heads if of_layer == index]
            scores.append(layer.cross_scores(asked, self._heard[index], heads))
            x = layer.feed_forward(x + layer.cross_attend(asked, self._heard[index]))
        return self._logits(x[0, logits_from:]), torch.cat(scores).cpu()

    def read_back(self, tokens: Tensor, asked: range, n_among: Optional[int] = None) -> Tuple[Tensor, Tensor]:
        """How likely those of `tokens` (length,) are, each behind all before it, and where alignment heads listen.

        Log-probabilities (len(asked),), among the first `n_among` of the vocabulary or all, and scores as of `follow`.
        """
        n_among = n_among or self.n_vocab
        if self._compiled is not None:
            return self._compiled.read_back(tokens, asked, n_among)
        logits, scores = self.follow(tokens, logits_from=asked.start - 1)
        foretold = log_softmax(logits[: len(asked), :n_among], -1)
        return foretold.gather(1, tokens[asked.start : asked.stop, None])[:, 0], scores

    def rearrange(self, sources: List[int], first: int, end: int) -> None:
        """Row i goes on from what row `sources[i]` had, from token `first` up to `end`; those before are the same."""
        if self._compiled is not None:
            self._compiled.rearrange(sources, first, end)
            return
        moved = [row for row, source in enumerate(sources) if row != source]
        here = torch.tensor(moved, dtype=torch.long, device=self.device)
        there = torch.tensor([sources[row] for row in moved], dtype=torch.long, device=self.device)
        part = self.memory[:, :, :, :, first:end]
        part[:, :, here] = part[:, :, there]


def _trace(decoder: FastDecoder, arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sizes that are taken for constant, and are; that later torch compiles
        return torch.jit.trace(decoder, arguments, check_trace=False)  # type: ignore[no-untyped-call]


class FastInference(Inference):  # type: ignore[misc]
    """The part of openai-whisper's decoding loop that runs the model; one utterance, one attempt.

    `before_step` is called before each token; `sot_index` is where the prompt is asked whether nobody spoke.
    """

    def __init__(self, decoder: FastDecoder, before_step: Callable[[], None], sot_index: int) -> None:
        self._decoder = decoder
        self._before_step = before_step
        self._sot_index = sot_index
        self._length: Optional[int] = None  # tokens that the decoder remembers

    def logits(self, tokens: Tensor, audio_features: Tensor) -> Tensor:
        """`tokens` (n, length) → logits (n, 2 or 1, n_vocab): of a prompt at its `sot_index`, and at its end."""
        self._before_step()
        if self._length is None:
            logits = self._decoder.prompt(tokens[0], (self._sot_index, -1)).expand(len(tokens), -1, -1).clone()
        else:
            logits = self._decoder.step(tokens[:, -1], self._length)[:, None]
        self._length = tokens.shape[1]
        return logits

    def go_on(self, sources: List[int], n_common: int) -> None:
        """Follow the beam: row i with what row `sources[i]` had, which begins with as many tokens of its own."""
        assert self._length is not None
        if n_common < self._length:
            self._decoder.rearrange(sources, n_common, self._length)


class FastTask(DecodingTask):  # type: ignore[misc]
    """openai-whisper's decoding of one utterance that is already encoded, run by a FastDecoder that listens to it.

    Args:
        model: for its sizes; its weights are not used.
        options: as for `whisper.decode`, with a language.
        decoder: has had `listen` called with the same features.
        before_step: called before each token; may raise.
        prefix: tokens that the text is known to begin with, and that are no part of the result. They and what is
            decoded must leave room for a prompt: openai-whisper's own `DecodingOptions.prefix` is cut without a word.
    """

    sot_index: int

    def __init__(
        self,
        model: Whisper,
        options: DecodingOptions,
        decoder: FastDecoder,
        before_step: Callable[[], None] = lambda: None,
        prefix: Sequence[int] = (),
    ) -> None:
        self._prefix = tuple(prefix)
        self._before_step = before_step
        super().__init__(model, options)
        self._device = decoder.device
        self.inference = FastInference(decoder, before_step, self.sot_index)
        if options.beam_size is not None:
            self.decoder = BeamSearch(options.beam_size, self.tokenizer.eot, self.inference, decoder.best)
        self.logit_filters: List[LogitFilter] = [
            Suppress(filter_.suppress_tokens, decoder.device) if isinstance(filter_, SuppressTokens) else filter_
            for filter_ in self.logit_filters
        ]

    def decode(self) -> DecodingResult:
        """What was decoded, in whole characters."""
        return self.run(torch.empty(1, 1, 1, device=self._device))[0]  # it is the decoder that has heard it

    def run(self, mel: Tensor) -> List[DecodingResult]:
        """What was decoded, in whole characters: (1, n_audio_ctx, n_state) from the encoder → one result."""
        texts = [(result, whole_text(self.tokenizer, result.tokens)) for result in super().run(mel)]
        return [replace(result, text=text, compression_ratio=compression_ratio(text)) for result, text in texts]

    def _main_loop(self, audio_features: Tensor, tokens: Tensor) -> Tuple[Tensor, Tensor, List[float]]:
        """openai-whisper's; of a prompt's logits it reads two, and no others are there."""
        sot_index, self.sot_index = self.sot_index, 0
        try:
            found: Tuple[Tensor, Tensor, List[float]] = super()._main_loop(audio_features, tokens)
            return found
        finally:
            self.sot_index = sot_index

    def _get_initial_tokens(self) -> Tuple[int, ...]:
        initial: Tuple[int, ...] = super()._get_initial_tokens()
        return (*initial, *self._prefix)

    def _get_audio_features(self, mel: Tensor) -> Tensor:
        return mel


def whole_text(tokenizer: Tokenizer, tokens: List[int]) -> str:
    """The text of `tokens` without the characters of which parts are missing, and without blanks around it."""
    return TORN.sub("", tokenizer.decode(tokens)).strip()


def text_tokens(tokenizer: Tokenizer, text: str) -> Tuple[int, ...]:
    """The tokens of a text from outside: what it spells like a special token is none."""
    text = text.strip()
    return tuple(tokenizer.encoding.encode(" " + text, disallowed_special=())) if text else ()
