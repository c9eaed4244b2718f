"""Whisper's text decoder in work of fixed shapes, which a device can be given once and replay (graphs.py).

decoder.py takes slices that grow and asks the device after each token what to do next. Here

- keys and values are written at a position that is itself on the device, and attention is over a *bucket* of positions
  of which a mask takes those that are there;
- the beam is not rearranged: each hypothesis knows for each position in which row its keys and values are
  ("cache indirection", as NVIDIA's TensorRT-LLM calls it), and the mask says so to one attention call of all;
- tokens are forbidden and chosen on the device (tensor_search.py), and the host asks every few tokens whether that is
  over.

The weights are FastDecoder's, the rules openai-whisper's: StaticTask takes the place of its loop alone.
"""

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from whisper import Whisper
from whisper.decoding import BeamSearchDecoder, DecodingOptions, LogitFilter
from whisper.tokenizer import get_tokenizer

from recognizer.decoder import FastDecoder, FastTask
from recognizer.graphs import Runner
from recognizer.layers import join_heads, split_heads
from recognizer.tensor_search import Chosen, SampledChoice, TensorSearch, search_for

# Positions of tokens that are attended to, below all that there are: nearly all utterances end within the first.
_TEXT_BUCKETS = (64, 128, 256)

# Tokens until the host looks whether all is said: each look makes the device wait for the host, and between looks it
# computes tokens that are not needed.
LOOK_EVERY = 4

_NOTHING = -1  # no row


@dataclass(frozen=True)
class Given:
    """What decoding begins with, and where it ends.

    Attributes:
        tokens: that every hypothesis begins with.
        sot_index: of the token behind which Whisper tells how likely it is that nobody spoke.
        limit: the most tokens behind them.
    """

    tokens: Sequence[int]
    sot_index: int
    limit: int


class _Piece(NamedTuple):
    """Of work: what it does, over how many positions of the encoder and of the text.

    `is_filled`: whether all those of the encoder were heard.
    """

    name: str
    window: int
    is_filled: bool
    text: int


class StaticDecoder:
    """A FastDecoder's weights with static memory beside them.

    Args:
        model: for its sizes.
        decoder: whose weights are used; what it listens to is listened to here, too.
        n_rows: the most hypotheses at once.
        windows: positions of the encoder that work is made for, rising; the last are all that there are.
        runner: of the work.
    """

    def __init__(
        self, model: Whisper, decoder: FastDecoder, n_rows: int, windows: Sequence[int], runner: Runner
    ) -> None:
        self.decoder = decoder
        self._windows, self._runner = tuple(windows), runner
        self._blocks: List[Any] = list(decoder.layers)
        self._n_head = self._blocks[0].n_head
        self._n_ctx, self._n_state = decoder.positions.shape
        tokenizer = get_tokenizer(model.is_multilingual, num_languages=model.num_languages)
        self._eot, self._no_speech = tokenizer.eot, tokenizer.no_speech
        like, device = decoder.positions, decoder.device
        head_size = self._n_state // self._n_head
        # What is not there is masked, but must be a number: zero times another is none.
        self._memory = like.new_zeros(len(self._blocks), self._n_ctx * n_rows, 2 * self._n_state)
        self._heard = like.new_zeros(len(self._blocks), 2, 1, self._n_head, self._windows[-1], head_size)
        self._unheard = like.new_zeros(1, 1, 1, self._windows[-1])  # added to scores, where a window is not filled
        self._views = {n: [(layer[0, :, :, :n], layer[1, :, :, :n]) for layer in self._heard] for n in self._windows}
        self._sources = torch.zeros(n_rows, self._n_ctx, dtype=torch.long, device=device)  # rows
        self._position = torch.zeros(1, dtype=torch.long, device=device)  # of the next token
        self._given = torch.zeros(self._n_ctx, dtype=torch.long, device=device)
        self._asked = torch.zeros(2, dtype=torch.long, device=device)  # the given tokens whose logits are asked for
        # Added to the first token's logits, to all others'.
        self._forbidden = torch.zeros(2, decoder.n_vocab, device=device)
        self._no_speech_prob = torch.zeros(1, device=device)
        self._searches: Dict[Tuple[Optional[int], bool], TensorSearch] = {}

    def remember(self, features: Tensor) -> None:
        """Work: keep what the encoder made of a window, (one of `windows`, n_state); then `listen` to it."""
        for (keys, values), layer in zip(self._views[len(features)], self._blocks):
            for kept, heard in zip((keys, values), layer.project(features)):
                kept.copy_(heard)

    def listen(self, window: int) -> None:
        """Decode what was remembered of so many positions."""
        self.decoder.hear(self._views[window])

    def forbid(self, filters: Sequence[LogitFilter], n_given: int) -> None:
        """From now on, behind so many given tokens, these rules hold; they may look at no more than how many there are.

        Which is so for openai-whisper's where nobody asks for timestamps.
        """
        self._forbidden.zero_()
        for index, logits in enumerate(self._forbidden):
            for one in filters:
                one.apply(logits[None], torch.empty(1, n_given + index))

    def decode(self, options: DecodingOptions, given: Given, before_step: Callable[[], None]) -> Tuple[Chosen, float]:
        """Write what is heard; returns it, and how likely it is that nobody spoke.

        `before_step` is called before each token, and may raise.
        """
        window, is_filled = self._window()
        search = self._search(options)
        self._begin(search, given)
        n_given, n_chosen = len(given.tokens), 1
        limit = min(given.limit, self._n_ctx + 1 - n_given)
        before_step()
        self._run(_Piece("prompt", window, is_filled, self._text_bucket(n_given)), search)
        while n_chosen < limit and not self._is_over(search, n_chosen):
            before_step()
            self._run(_Piece("step", window, is_filled, self._text_bucket(n_given + n_chosen)), search)
            n_chosen += 1
        packed = self._runner.read(torch.cat((self._no_speech_prob.double(), search.packed(n_chosen))))
        return search.unpacked(packed[1:], n_chosen), float(packed[0])

    def _is_over(self, search: TensorSearch, n_chosen: int) -> bool:
        return n_chosen % LOOK_EVERY == 0 and bool(self._runner.read(search.is_over))

    def _window(self) -> Tuple[int, bool]:
        """Positions that what is listened to has here, and whether they are filled; what is elsewhere is copied."""
        heard = self.decoder.heard
        for window, views in self._views.items():
            if heard is views:
                return window, True
        n_heard = heard[0][0].shape[2]
        window = next(window for window in self._windows if window >= n_heard)
        for (keys, values), (heard_keys, heard_values) in zip(self._views[window], heard):
            keys[:, :, :n_heard], values[:, :, :n_heard] = heard_keys, heard_values
        self._heard[..., n_heard:window, :] = 0.0
        self._unheard[..., :n_heard] = 0.0
        self._unheard[..., n_heard:] = -torch.inf
        return window, False

    def _text_bucket(self, n_tokens: int) -> int:
        return next((bucket for bucket in _TEXT_BUCKETS if n_tokens <= bucket < self._n_ctx), self._n_ctx)

    def _search(self, options: DecodingOptions) -> TensorSearch:
        kind = (options.beam_size, options.temperature == 0)
        search = self._searches.get(kind)
        if search is None:
            device = self.decoder.device
            search = search_for(options.beam_size, options.temperature, self._eot, self._n_ctx, device)
            self._searches[kind] = search
        if isinstance(search, SampledChoice):
            search.heat(options.temperature)
        return search

    def _begin(self, search: TensorSearch, given: Given) -> None:
        n_given = len(given.tokens)
        search.begin()
        self._memory.zero_()
        self._sources.fill_(_NOTHING)
        self._sources[:, :n_given] = 0
        self._position.fill_(n_given)
        self._given[:n_given] = torch.tensor(given.tokens)
        self._asked.copy_(torch.tensor((given.sot_index, n_given - 1)))

    def _run(self, piece: _Piece, search: TensorSearch) -> None:
        work = self._prompt if piece.name == "prompt" else self._step
        state = [*search.state, self._position, self._sources]
        self._runner.run((type(search), search.rows, piece), lambda: work(piece, search), state)

    # --- work ---

    def _prompt(self, piece: _Piece, search: TensorSearch) -> None:
        """The given tokens, all in the first row, and the first behind them."""

        def attend(index: int, qkv: Tensor) -> Tensor:
            self._memory_of(index, search.rows)[: piece.text, 0] = qkv[0, :, self._n_state :]
            query, keys, values = self._split(qkv, 3)
            return scaled_dot_product_attention(query, keys, values, is_causal=True)

        x = self.decoder.embedding[self._given[: piece.text]] + self.decoder.positions[: piece.text]
        logits = self._logits(self._through(x[None], attend, piece)[0].index_select(0, self._asked))
        self._no_speech_prob.copy_(logits[0].softmax(-1)[self._no_speech])
        search.choose((logits[1] + self._forbidden[0]).expand(search.rows, -1))

    def _step(self, piece: _Piece, search: TensorSearch) -> None:
        """The last token of each hypothesis, and the next one."""
        rows, length = search.rows, piece.text * search.rows
        sources = self._sources[:rows]
        sources.index_copy_(1, self._position, search.own[:, None])
        elsewhere = sources[:, : piece.text, None] != search.own  # from here, position, row
        mask = self._memory.new_zeros(elsewhere.shape).masked_fill_(elsewhere, -torch.inf).view(1, 1, rows, length)

        def attend(index: int, qkv: Tensor) -> Tensor:
            self._memory_of(index, rows).index_copy_(0, self._position, qkv[:, :, self._n_state :])
            query, _, _ = self._split(qkv, 3)
            keys, values = self._split(self._memory[index, None, :length], 2)
            return scaled_dot_product_attention(query, keys, values, attn_mask=mask)

        x = self.decoder.embedding[search.tokens] + self.decoder.positions[self._position]
        logits = self._logits(self._through(x[None], attend, piece)[0])
        sources.copy_(sources[search.choose(logits + self._forbidden[1])])
        self._position += 1

    def _through(self, x: Tensor, attend: Callable[[int, Tensor], Tensor], piece: _Piece) -> Tensor:
        """`x` (1, n, n_state) after all layers; `attend`: layer and (1, n, 3 × n_state) → (1, n_head, n, head size)."""
        unheard = None if piece.is_filled else self._unheard[..., : piece.window]
        for index, (layer, heard) in enumerate(zip(self._blocks, self._views[piece.window])):
            x = x + layer.attn_out(join_heads(attend(index, layer.qkv(layer.attn_norm(x)))))
            x = x + layer.cross_attend(layer.cross_norm(x), heard, unheard)
            x = layer.feed_forward(x)
        return x

    def _logits(self, x: Tensor) -> Tensor:
        logits: Tensor = self.decoder.vocabulary(self.decoder.norm(x))
        return logits.float()

    def _memory_of(self, layer: int, rows: int) -> Tensor:
        """Keys and values of a layer: (n_ctx, rows, 2 × n_state)."""
        return self._memory[layer, : self._n_ctx * rows].view(self._n_ctx, rows, -1)

    def _split(self, x: Tensor, parts: int) -> Tuple[Tensor, ...]:
        return tuple(split_heads(part, self._n_head) for part in x.chunk(parts, dim=-1))


class StaticTask(FastTask):
    """A FastTask whose loop is a StaticDecoder's.

    Args:
        static: has listened.
        model, options, before_step, prefix: as of FastTask.
    """

    def __init__(
        self,
        model: Whisper,
        options: DecodingOptions,
        static: StaticDecoder,
        before_step: Callable[[], None] = lambda: None,
        prefix: Sequence[int] = (),
    ) -> None:
        super().__init__(model, options, static.decoder, before_step, prefix)
        self._static = static

    def _main_loop(self, audio_features: Tensor, tokens: Tensor) -> Tuple[Tensor, Tensor, List[float]]:
        """Tokens (n_group, length) of the hypotheses, their log-probabilities, and that nobody spoke, for each."""
        given = Given(self.initial_tokens, self.sot_index, self.sample_len)
        self._static.forbid(self.logit_filters, len(given.tokens))
        chosen, no_speech_prob = self._static.decode(self.options, given, self._before_step)
        if isinstance(self.decoder, BeamSearchDecoder):
            ended = {(*given.tokens, *written, self.tokenizer.eot): total for written, total in chosen.ended}
            self.decoder.finished_sequences = [ended]
        rows = torch.tensor([[*given.tokens, *written] for written in chosen.rows])
        return rows, torch.tensor(chosen.totals), [no_speech_prob] * self.n_group
