"""What a card's measurement gives, a table for each part; as a command, its picture: `… ROWS.json CHART.svg`."""

from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from bench import chart
from bench.report import NOT_MEASURED, Columns, Report, counts, number, percent, table


class Row(NamedTuple):
    """A row of any of the tables: its table, and what that row's own type holds."""

    part: str
    fields: Dict[str, Any]


class Parity(NamedTuple):
    """A model's texts by two ways, over the same sound.

    Attributes:
        compared: the way that is tried, and the one that is right.
        same: utterances with the very same tokens.
        edits: share of the right tokens.
        logprob_apart: the largest difference of the mean log-probabilities of a token.
    """

    model: str
    search: str
    compared: str
    utterances: int
    same: int
    edits: float
    logprob_apart: float


class Timing(NamedTuple):
    """How long the device takes for something, of so many `times`."""

    model: str
    work: str
    times: int
    median_ms: Optional[float]
    p95_ms: Optional[float]


class Other(NamedTuple):
    """A recogniser over utterances of one language; `language` is that of `error_rate`."""

    name: str
    model: str
    language: str
    utterances: int
    median_ms: Optional[float]
    p95_ms: Optional[float]
    times_real_time: float
    error_rate: float


class Live(NamedTuple):
    """A server with an engine for each client, all of which ask for live text.

    Attributes:
        start_s: until the server listened.
        results: with a latency, from the packet that completes the silence after an utterance.
        partials_per_s: live texts of a client, in a second.
        failures: sessions that ended badly, by kind.
        server_cores: processor time over time.
        late_packets: that the clients sent more than 30 ms after their time.
    """

    model: str
    engines: int
    start_s: float
    results: int
    median_ms: Optional[float]
    p95_ms: Optional[float]
    max_ms: Optional[float]
    partials_per_s: float
    failures: Dict[str, int]
    server_cores: Optional[float]
    late_packets: int


class Memory(NamedTuple):
    """What a server has when its engines have worked (`speaking`) or have only been started.

    Attributes:
        device_mb: on the card more than before it was started.
        host_mb: of all its processes; what they share is counted once.
        engine_mb: of an engine (median), with its share of what it shares.
        engine_private_mb: of an engine (median), what it alone has.
    """

    model: str
    engines: int
    speaking: bool
    device_mb: Optional[float]
    host_mb: float
    engine_mb: Optional[float]
    engine_private_mb: Optional[float]


TYPES: Dict[str, Callable[..., Any]] = {
    "parity": Parity,
    "timing": Timing,
    "others": Other,
    "live": Live,
    "memory": Memory,
}

_PARITY: Columns[Parity] = {
    "model": lambda row: row.model,
    "search": lambda row: row.search,
    "compared": lambda row: row.compared,
    "same texts": lambda row: f"{row.same} of {row.utterances}",
    "tokens that differ": lambda row: percent(row.edits),
    "log-probability, most apart": lambda row: number(row.logprob_apart, 4),
}
_TIMING: Columns[Timing] = {
    "model": lambda row: row.model,
    "work": lambda row: row.work,
    "times": lambda row: str(row.times),
    "median, ms": lambda row: number(row.median_ms, 2),
    "95 %, ms": lambda row: number(row.p95_ms, 2),
}
_LIVE: Columns[Live] = {
    "model": lambda row: row.model,
    "engines": lambda row: str(row.engines),
    "start, s": lambda row: number(row.start_s, 1),
    "results": lambda row: str(row.results),
    "latency: median, ms": lambda row: number(row.median_ms),
    "95 %, ms": lambda row: number(row.p95_ms),
    "max, ms": lambda row: number(row.max_ms),
    "live texts a second": lambda row: number(row.partials_per_s, 2),
    "failures": lambda row: counts(row.failures),
    "server, cores": lambda row: number(row.server_cores, 2),
    "late packets": lambda row: str(row.late_packets),
}


def _others(rows: Sequence[Other]) -> Columns[Other]:
    return {
        "recogniser": lambda row: row.name,
        "model": lambda row: row.model,
        "language": lambda row: row.language,
        "utterances": lambda row: str(row.utterances),
        "median, ms": lambda row: number(row.median_ms, 1),
        "95 %, ms": lambda row: number(row.p95_ms, 1),
        "× real time": lambda row: number(row.times_real_time, 1),
        "error rate": lambda row: percent(row.error_rate),
        "against openai-whisper": partial(_against_whisper, rows),
    }


def _against_whisper(rows: Sequence[Other], row: Other) -> str:
    for other in rows:
        if other.name.startswith("openai-whisper") and other.language == row.language:
            return f"{row.times_real_time / other.times_real_time:.2f} ×"
    return NOT_MEASURED


def _memory(rows: Sequence[Memory]) -> Columns[Memory]:
    return {
        "model": lambda row: row.model,
        "engines": lambda row: str(row.engines),
        "engines have": lambda row: "worked" if row.speaking else "started",
        "card, MB": lambda row: number(row.device_mb),
        "an engine more, MB": lambda row: number(an_engine_more_mb(rows, row)),
        "host, MB (PSS)": lambda row: number(row.host_mb),
        "an engine, MB (PSS)": lambda row: number(row.engine_mb),
        "private, MB": lambda row: number(row.engine_private_mb),
    }


def an_engine_more_mb(rows: Sequence[Memory], row: Memory) -> Optional[float]:
    """Of the card, by the row of the fewest engines of the same model in the same state; None for that one."""
    alike = [one for one in rows if (one.model, one.speaking) == (row.model, row.speaking)]
    fewest = min(alike, key=lambda one: one.engines)
    if row.device_mb is None or fewest.device_mb is None or row.engines == fewest.engines:
        return None
    return (row.device_mb - fewest.device_mb) / (row.engines - fewest.engines)


_COLUMNS: Dict[str, Tuple[str, Callable[[Any], Columns[Any]]]] = {
    "parity": ("Texts", lambda _: _PARITY),
    "timing": ("Time on the device", lambda _: _TIMING),
    "others": ("Other recognisers, in turns", _others),
    "live": ("Live sessions", lambda _: _LIVE),
    "memory": ("Memory", _memory),
}


def of_part(rows: Sequence[Row], part: str) -> List[Any]:
    """The rows of one table, each of its own type."""
    return [TYPES[part](**row.fields) for row in rows if row.part == part]


def tables(conditions: str, rows: Sequence[Row]) -> str:
    """All tables that have rows, in Markdown."""
    found = [conditions]
    for part, (title, columns) in _COLUMNS.items():
        own = of_part(rows, part)
        if own:
            found.append(table(f"**{title}**", columns(own), own))
    return "\n\n".join(found)


# --- the picture -----------------------------------------------------------------------------


def draw(pyplot: Any, report: Report[Row]) -> Any:
    """A panel for each of latency, other recognisers and memory that was measured."""
    panels = {
        part: (rows, paint)
        for part, paint in (("live", _draw_live), ("others", _draw_others), ("memory", _draw_memory))
        for rows in [of_part(report.rows, part)]
        if rows
    }
    if not panels:
        raise SystemExit("there is nothing to draw: neither latencies nor recognisers nor memory were measured")
    figure, places = pyplot.subplots(1, len(panels), squeeze=False, figsize=(5 * len(panels), 4), layout="constrained")
    for panel, (rows, paint) in zip(places[0], panels.values()):
        paint(panel, rows)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(report.facts["conditions"], fontsize=9)
    return figure


def _draw_live(panel: Any, rows: Sequence[Live]) -> None:
    engines = [row.engines for row in rows]
    for label, colour, latencies_ms in (
        ("95 %", chart.OTHERS, [row.p95_ms for row in rows]),
        ("median", chart.OURS, [row.median_ms for row in rows]),
    ):
        panel.plot(engines, [_gap(value) for value in latencies_ms], color=colour, marker="o", label=label)
    panel.set_xticks(engines)
    panel.set_ylim(bottom=0)
    panel.set_xlabel("sessions with live text")
    panel.set_ylabel("ms until a result")
    panel.legend(frameon=False)


def _draw_others(panel: Any, rows: Sequence[Other]) -> None:
    names = [f"{row.name}, {row.language}" for row in rows]
    colours = [chart.OURS if row.name.startswith("ours") else chart.OTHERS for row in rows]
    panel.barh(range(len(rows)), [row.times_real_time for row in rows], color=colours)
    panel.set_yticks(range(len(rows)), names)
    panel.invert_yaxis()
    panel.set_xlabel("× real time")


def _draw_memory(panel: Any, rows: Sequence[Memory]) -> None:
    kinds = dict.fromkeys((row.model, row.speaking) for row in rows)
    for model, speaking in kinds:
        alike = [row for row in rows if (row.model, row.speaking) == (model, speaking)]
        engines, label = [row.engines for row in alike], f"{model}, {'worked' if speaking else 'started'}"
        panel.plot(engines, [_gap(row.device_mb) for row in alike], marker="o", label=f"{label}: card")
        panel.plot(engines, [row.host_mb for row in alike], marker="o", linestyle=":", label=f"{label}: host")
    panel.set_ylim(bottom=0)
    panel.set_xlabel("engines")
    panel.set_ylabel("MB")
    panel.legend(frameon=False)


def _gap(value: Optional[float]) -> float:
    """What was not measured leaves a gap in a line."""
    return float("nan") if value is None else value


if __name__ == "__main__":
    chart.main(draw, Row)
