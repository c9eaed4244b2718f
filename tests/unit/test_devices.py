"""Which devices a setting means, and asking for them without starting CUDA."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from recognizer import RecognizerError
from recognizer.devices import count_cards_aside, find_devices


def found(device: str, cards: int) -> list[str]:
    return [str(one) for one in find_devices(device, lambda: cards)]


@pytest.mark.parametrize(
    ("device", "cards", "devices"),
    [
        ("auto", 0, ["cpu"]),
        ("auto", 2, ["cuda:0", "cuda:1"]),
        ("cuda", 1, ["cuda:0"]),
        ("cuda", 3, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda:1", 3, ["cuda:1"]),
        ("cuda:0", 3, ["cuda:0"]),
    ],
)
def test_a_setting_means_every_card_or_the_one_that_it_names(device: str, cards: int, devices: list[str]) -> None:
    assert found(device, cards) == devices


@pytest.mark.parametrize(("device", "cards"), [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_a_card_that_is_not_there_is_named(device: str, cards: int) -> None:
    with pytest.raises(RecognizerError, match=f"model.device: {device} was asked for, but .* finds {cards} CUDA"):
        found(device, cards)


def test_who_computes_on_the_processor_asks_for_no_cards() -> None:
    assert find_devices("cpu", lambda: pytest.fail("it asks")) == [torch.device("cpu")]


def test_cards_are_counted_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    started = []

    def count() -> int:
        started.append(os.getpid())
        return 3

    assert count_cards_aside(count) == 3
    assert started == []


def test_cards_that_cannot_be_counted_are_absent_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")

    def break_down() -> int:
        raise RuntimeError

    def die() -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 1

    for count in (break_down, die):
        assert count_cards_aside(count) == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


def test_a_torch_without_cuda_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    assert count_cards_aside(lambda: pytest.fail("it asks")) == 0
