"""Work is captured once and replayed; what a card could not capture is refused by what stands in its place."""

from typing import Callable, List

import pytest
import torch
from torch import Tensor

from recognizer.graphs import runner_for
from tests.harness.fake_graphs import CannotBeCaptured, FakeGraphs


@pytest.fixture
def count() -> Tensor:
    return torch.zeros(1, dtype=torch.long)


def adding(to: Tensor, what: object) -> Callable[[], None]:
    def work() -> None:
        to.add_(what)  # type: ignore[arg-type]

    return work


def test_python_runs_at_the_capture_alone(count: Tensor) -> None:
    runs: List[int] = []

    def work() -> None:
        runs.append(1)
        count.add_(1)

    graphs = FakeGraphs()
    graphs.run("count", work, [count])
    assert count.item() == 1  # what the capture did is undone
    n_runs = len(runs)
    for _ in range(3):
        graphs.run("count", work, [count])
    assert (count.item(), len(runs), graphs.captures) == (4, n_runs, 1)


def test_what_is_drawn_first_is_what_would_be_drawn_without_a_capture(count: Tensor) -> None:
    drawn = torch.zeros(4)
    torch.manual_seed(3)

    def work() -> None:
        drawn.copy_(torch.empty(4).exponential_(1))

    FakeGraphs().run("draw", work)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.empty(4).exponential_(1))


def test_each_key_has_its_work(count: Tensor) -> None:
    graphs = FakeGraphs()
    for _ in range(2):
        for step in (1, 10):
            graphs.run(step, adding(count, step), [count])
    assert (count.item(), graphs.captures) == (22, 2)


def test_numbers_of_the_host_are_those_of_the_capture(count: Tensor) -> None:
    graphs = FakeGraphs()
    for step in (1, 10):
        graphs.run("one key", adding(count, step), [count])
    assert count.item() == 2


def test_memory_that_has_been_given_back_is_not_read(count: Tensor) -> None:
    graphs, inputs = FakeGraphs(), [torch.ones(1, dtype=torch.long)]
    graphs.run("add", adding(count, inputs[0]), [count])
    inputs[0] = torch.ones(1, dtype=torch.long)
    with pytest.raises(CannotBeCaptured, match="given back"):
        graphs.run("add", adding(count, inputs[0]), [count])


def test_what_a_graph_allocates_stays_in_it(count: Tensor) -> None:
    kept: List[Tensor] = []
    with pytest.raises(CannotBeCaptured, match="kept outside"):
        FakeGraphs().run("keep", lambda: kept.append(count + 1), [count])
    FakeGraphs().run("a part of static memory", lambda: kept.append(count[:1]), [count])


@pytest.mark.parametrize(
    "ask",
    [
        lambda count: count.item(),
        int,
        lambda count: bool(count > 0),
        lambda count: count.nonzero(),
        lambda count: count[count > 0],
        lambda count: count.masked_select(count > 0),
        lambda count: torch.distributions.Categorical(logits=count.expand(1, 3).float()).sample(),  # type: ignore[no-untyped-call]
    ],
)
def test_work_that_waits_for_the_device_is_refused(ask: Callable[[Tensor], object], count: Tensor) -> None:
    def work() -> None:
        ask(count)

    with pytest.raises(CannotBeCaptured, match="waits"):
        FakeGraphs().run("wait", work)


def test_the_processor_has_shapes_as_they_come() -> None:
    assert runner_for(torch.device("cpu")) is None
