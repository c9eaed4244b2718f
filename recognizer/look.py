"""What the decoder writes for the sound that is there, with a probability and a place for each token.

*Quickly*: greedily, and what the look before has heard is only verified, all of it at once. *Closely*: with the beam
search of a result, which is nearer to what that will say and takes longer.
"""

from dataclasses import replace
from typing import Callable, List, Optional, Sequence, Tuple

import torch
from torch import Tensor
from torch.nn.functional import log_softmax
from whisper.decoding import DecodingOptions, SequenceRanker
from whisper.tokenizer import get_tokenizer

from recognizer.hearing import POSITIONS_PER_S, GrowingSound
from recognizer.network import Network
from recognizer.plausibility import most_tokens
from recognizer.stability import HeardToken, Look, begins_another, words_of

_END_S = 0.04  # whose attention is nearer to the end of the sound is not heard but guessed
_BACK_S = 1.0  # whose attention jumps back by more begins to say it all again
_LEAST_DEVIATION = 1e-6  # of how much tokens listen to a position that none of them does


def spoken_language(network: Network, sound: GrowingSound) -> Tuple[str, float]:
    """The language that is spoken most probably, and that probability (`whisper.detect_language`)."""
    if not network.model.is_multilingual:
        return "en", 1.0
    tokenizer = get_tokenizer(True, num_languages=network.model.num_languages)
    network.decoder.hear(sound.heard)
    logits, _ = network.decoder.follow(torch.tensor([tokenizer.sot]))
    probabilities = logits[0, list(tokenizer.all_language_tokens)].softmax(-1)
    best = int(probabilities.argmax())
    return str(tokenizer.all_language_codes[best]), float(probabilities[best])


class _Ranker(SequenceRanker):  # type: ignore[misc]
    """As a result's: by the probability of a token on average, where so many stand before."""

    def __init__(self, n_before: int) -> None:
        self._n_before = n_before

    def rank(self, tokens: List[List[Tensor]], sum_logprobs: List[List[float]]) -> List[int]:
        """The best of each group."""
        return [
            max(range(len(totals)), key=lambda index: totals[index] / max(1, len(group[index]) + self._n_before))
            for group, totals in zip(tokens, sum_logprobs)
        ]


class Looker:
    """Looks at one utterance; speaks one language.

    Args:
        network: takes the looks.
        options: of the decoding: language, task, prompt.
        beam_size: of a close look.
        check_cancelled: called before each token; may raise.
    """

    def __init__(
        self,
        network: Network,
        options: DecodingOptions,
        beam_size: int,
        check_cancelled: Callable[[], None],
    ) -> None:
        self._network, self._decoder, self._check = network, network.decoder, check_cancelled
        self._options = replace(options, beam_size=beam_size if beam_size > 1 else None)
        self._task = network.task(options, check_cancelled)
        self.tokenizer = self._task.tokenizer
        self._eot = self.tokenizer.eot
        self._begin = list(self._task.initial_tokens)
        self._first_row = self._task.sot_index + len(self.tokenizer.sot_sequence)  # its attention is the first token's

    def room(self, stable: Sequence[int]) -> int:
        """How many more tokens the decoder takes behind the `stable` ones."""
        return int(self._network.model.dims.n_text_ctx) - len(self._begin) - len(stable)

    def quickly(self, sound: GrowingSound, stable: Sequence[int], expected: Sequence[int]) -> Look:
        """Tokens behind the `stable` ones, where there is `room`; `expected`: what the look before heard there."""
        self._decoder.hear(sound.heard)
        self._check()
        given = [*self._begin, *stable]
        tokens = [*given, *expected]
        logits, scores = self._decoder.follow(
            torch.tensor(tokens), logits_from=self._task.sot_index if not stable else len(given) - 1
        )
        no_speech_prob = 0.0 if stable else self._no_speech_prob(logits[0])
        logits = logits[len(logits) - len(expected) - 1 :]
        rows = [scores[:, self._first_row :]]
        heard: List[HeardToken] = []
        end_s = sound.positions / POSITIONS_PER_S
        limit = min(most_tokens(end_s) - len(stable), self.room(stable))
        places = self._places(rows[0])[len(given) - self._first_row - 1 :]
        furthest_s, logprob, ended = 0.0, 0.0, False
        while len(heard) < limit:
            index = len(heard)
            chosen, chosen_logprob = self._choose(logits[min(index, len(logits) - 1)], given, heard)
            logprob += chosen_logprob
            if chosen == self._eot:
                ended = True
                break
            at_s = places[index] if index < len(places) else self._places(torch.cat(rows, 1), last_only=True)[0]
            spelling = self._spelling(chosen)
            if at_s > end_s - _END_S or at_s < furthest_s - _BACK_S:
                ended = begins_another(spelling)
                break
            furthest_s = max(furthest_s, at_s)
            heard.append(HeardToken(chosen, spelling, float(torch.tensor(chosen_logprob).exp()), at_s))
            if index < len(expected) and chosen == expected[index]:
                continue
            if index < len(expected):  # from here on, what was expected is wrong
                kept = len(given) + index - self._first_row
                rows, places, expected = [rows[0][:, :kept]], places[: index + 1], []
            self._check()
            logits, scores = self._decoder.follow(torch.tensor([chosen]), len(given) + index)
            rows.append(scores)
        return Look(words_of(heard, ended), logprob / (len(heard) + 1), no_speech_prob, closely=False)

    def closely(self, sound: GrowingSound, stable: Sequence[int]) -> Look:
        """As a result is decoded, through the `stable` tokens."""
        self._decoder.hear(sound.heard)
        given = [*self._begin, *stable]
        limit = max(1, min(most_tokens(sound.positions / POSITIONS_PER_S) - len(stable), self.room(stable)))
        task = self._network.task(replace(self._options, sample_len=limit), self._check)
        task.initial_tokens, task.sample_begin = tuple(given), len(given)
        task.sequence_ranker = _Ranker(len(stable))
        if stable:  # the rule against a blank at the beginning, or nothing at all
            task.logit_filters = task.logit_filters[1:]
        result = task.decode()
        tokens = list(result.tokens)
        self._check()
        logits, scores = self._decoder.follow(torch.tensor([*given, *tokens]), logits_from=len(given) - 1)
        logprobs = log_softmax(logits, -1)
        places = self._places(scores[:, self._first_row :])[len(given) - self._first_row - 1 :]
        heard = [
            HeardToken(token, self._spelling(token), float(logprobs[index, token].exp()), places[index])
            for index, token in enumerate(tokens)
        ]
        no_speech_prob = 0.0 if stable else float(result.no_speech_prob)
        return Look(words_of(heard, ended=True), result.avg_logprob, no_speech_prob, closely=True)

    def _choose(self, logits: Tensor, given: List[int], heard: List[HeardToken]) -> Tuple[int, float]:
        logits = logits.clone()[None]
        so_far = torch.tensor([[*given, *(token.token for token in heard)]])
        for logit_filter in self._task.logit_filters:
            logit_filter.apply(logits, so_far)
        logprobs = log_softmax(logits[0], -1)
        best = int(logprobs.argmax())
        return best, float(logprobs[best])

    def _no_speech_prob(self, logits: Tensor) -> float:
        no_speech: Optional[int] = self.tokenizer.no_speech
        return 0.0 if no_speech is None else float(logits.softmax(-1)[no_speech])

    def _spelling(self, token: int) -> bytes:
        spelling: bytes = self.tokenizer.encoding.decode_single_token_bytes(token)
        return spelling

    def _places(self, scores: Tensor, last_only: bool = False) -> List[float]:
        """Where the tokens listen, in seconds: scores (n_heads, tokens, positions) → tokens, or the last one alone."""
        first = scores.shape[1] - 1 if last_only else 0
        listening = self._decoder.listening(scores, scores.shape[2], first, _LEAST_DEVIATION)
        return (listening.argmax(-1) / POSITIONS_PER_S).tolist()
