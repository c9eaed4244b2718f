"""The capacity plan: Erlang's formula against published tables, the simulations against what can be computed."""

import random

import pytest

from bench.capacity import calls, erlang, server, traffic
from bench.capacity.calls import Fleet
from bench.capacity.server import Cost
from bench.capacity.traffic import Pause, Utterance

FREE = Cost(0.0, 1.0, 0.0)  # as long as the utterance


@pytest.mark.parametrize(
    ("engines", "share", "load"),
    [  # tables of Erlang B, as in ITU's handbook of teletraffic
        (1, 0.01, 0.0101),
        (5, 0.01, 1.361),
        (10, 0.001, 3.092),
        (10, 0.01, 4.461),
        (10, 0.05, 6.216),
        (20, 0.001, 9.411),
        (50, 0.01, 37.90),
        (100, 0.001, 75.24),
        (100, 0.01, 84.06),
    ],
)
def test_erlang_b_is_that_of_the_tables(engines: int, share: float, load: float) -> None:
    assert erlang.load_for(engines, share) == pytest.approx(load, rel=1e-3)
    assert erlang.busy_share(engines, load) == pytest.approx(share, rel=1e-2)
    assert erlang.engines_for(load * 0.999, share) == engines


def test_without_engines_everybody_is_refused() -> None:
    assert erlang.busy_share(0, 1.0) == 1.0


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_the_simulation_refuses_as_many_as_erlang_b_however_long_sessions_are(spread: float) -> None:
    outcome = calls.simulate(Fleet([5, 5, 5]), 10, 100_000, random.Random(1), spread)
    assert outcome.refused_share == pytest.approx(erlang.busy_share(15, 10), rel=0.06)
    assert outcome.in_use == pytest.approx(10 * (1 - outcome.refused_share), rel=0.02)


def test_servers_that_are_chosen_blindly_refuse_as_many_as_if_each_were_alone() -> None:
    outcome = calls.simulate(Fleet([5, 5, 5], balanced=False), 9, 100_000, random.Random(1))
    assert outcome.refused_share == pytest.approx(erlang.busy_share(5, 3), rel=0.06)


def test_who_waits_long_enough_is_served() -> None:
    outcome = calls.simulate(Fleet([5, 5], queue=1000), 8, 50_000, random.Random(1))
    assert outcome.refused == 0
    assert outcome.in_use == pytest.approx(8, rel=0.03)
    assert outcome.waited > 0


def test_engines_are_divided_as_evenly_as_can_be() -> None:
    assert calls.divided(18, 4) == [4, 4, 5, 5]


def said(start_s: float, over_s: float, *pauses: Pause) -> Utterance:
    return Utterance(start_s, over_s, False, pauses)


def closing(over_s: float) -> Pause:
    """The silence that ends an utterance."""
    return Pause(over_s - 0.4, over_s)


def latencies(cores: int, *clients: "list[Utterance]", cost: Cost = FREE, ahead: bool = False) -> "list[float]":
    outcome = server.simulate([(0.0, spoken) for spoken in clients], cores, cost, (0.0, 100.0), ahead)
    return [round(one, 6) for one in outcome.latencies_s]


def test_two_who_end_at_once_share_a_core_and_do_not_where_there_are_two() -> None:
    one = [said(0.0, 2.0, closing(2.0))]  # 1.6 s of work
    assert latencies(1, one, one) == [3.2, 3.2]
    assert latencies(2, one, one) == [1.6, 1.6]


def test_an_engine_has_one_utterance_after_the_other() -> None:
    spoken = [said(0.0, 2.0, closing(2.0)), said(1.9, 2.5, closing(2.5))]
    assert latencies(1, spoken) == [1.6, pytest.approx(1.3)]  # over at 3.6 and 3.8


def test_what_is_begun_in_the_closing_silence_is_there_when_it_ends() -> None:
    short = Cost(0.3, 0.0, 0.0)
    assert latencies(1, [said(0.0, 2.0, closing(2.0))], cost=short, ahead=True) == [0.0]
    longer = Cost(0.5, 0.0, 0.0)
    assert latencies(1, [said(0.0, 2.0, closing(2.0))], cost=longer, ahead=True) == [pytest.approx(0.1)]


def test_what_is_begun_in_vain_is_thrown_away() -> None:
    spoken = [said(0.0, 5.0, Pause(1.0, 1.3), closing(5.0))]
    outcome = server.simulate([(0.0, spoken)], 1, Cost(1.0, 0.0, 0.0), (0.0, 100.0))
    assert outcome.latencies_s == [pytest.approx(0.6)]
    assert outcome.thrown_away == pytest.approx(0.3 / 1.3)
    assert outcome.cores == pytest.approx(1.3 / 100)


def test_utterances_that_have_ended_go_before_work_that_is_ahead_of_time() -> None:
    over = [said(0.0, 2.0)]
    pausing = [said(0.0, 3.5, Pause(1.8, 3.5))]
    # It has a quarter of its second of work at 2.0 s, no core until 3.0 s, and then both.
    found = latencies(2, over, over, pausing, cost=Cost(1.0, 0.0, 0.0), ahead=True)
    assert found == [1.0, 1.0, pytest.approx(0.1)]


def test_pauses_are_those_that_an_engine_can_use() -> None:
    speech, short, pause = [True] * 10, [False] * 2, [False] * 5
    voiced = speech + short + speech + pause + speech + [False] * 16
    (one,) = traffic.utterances(voiced)
    assert one.start_s == 0.0
    assert one.over_s == pytest.approx(len(voiced) * 0.03)
    inside, after = one.pauses
    assert list(inside) == pytest.approx([25 * 0.03, 27 * 0.03])
    assert list(after) == pytest.approx([40 * 0.03, 53 * 0.03])
