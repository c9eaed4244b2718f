"""What came of sounds that nobody says and of short answers; as a command, the curve: `… ROWS.json CHART.svg`."""

import math
from typing import TYPE_CHECKING, Any, List, NamedTuple, Optional, Sequence

from bench import chart
from bench.report import Columns, Report, number, percent

if TYPE_CHECKING:  # who draws the curve has none of a recogniser's packages
    from recognizer.doubt import Signs

FITTED, OTHERS = "fitted to", "others"
THRESHOLDS = [halves / 2 for halves in range(-6, 7)]  # of the log-odds that somebody spoke


class Trial(NamedTuple):
    """One recording without speech, or one answer.

    Attributes:
        kind: of sound.
        speakers: `FITTED` or `OTHERS`.
        is_spoken: whether somebody speaks.
        duration_s: of the sound.
        sent_below: thresholds of each of its texts, below which it is sent; infinite where it always is.
        signs: of its doubtful texts.
    """

    kind: str
    speakers: str
    is_spoken: bool
    duration_s: float
    sent_below: Sequence[float]
    signs: Sequence["Signs"] = ()

    def results(self, threshold: float = 0.0) -> int:
        """How many texts are sent."""
        return sum(one > threshold for one in self.sent_below)


class Row(NamedTuple):
    """What is sent at one threshold.

    Attributes:
        results: texts of sounds in which nobody speaks, in `noise_s` of them.
        lost: of so many `answers`.
    """

    speakers: str
    threshold: float
    results: int
    noise_s: float
    lost: int
    answers: int

    @property
    def results_in_15_min(self) -> Optional[float]:
        """None where there was no sound without speech."""
        return 900 * self.results / self.noise_s if self.noise_s else None

    @property
    def lost_share(self) -> Optional[float]:
        """None where there was no answer."""
        return self.lost / self.answers if self.answers else None


CURVE: Columns[Row] = {
    "speakers": lambda row: row.speakers,
    "threshold": lambda row: f"{row.threshold:+.1f}",
    "results where nobody speaks": lambda row: str(row.results),
    "in 15 minutes": lambda row: number(row.results_in_15_min, 1),
    "answers without text": lambda row: f"{row.lost} of {row.answers}",
    "share": lambda row: percent(row.lost_share),
}


class Kind(NamedTuple):
    """One kind of sound at the threshold that is used: recordings without speech and results, or answers and lost."""

    name: str
    trials: int
    minutes: float
    found: int


NOISES: Columns[Kind] = {
    "sound": lambda kind: kind.name,
    "recordings": lambda kind: str(kind.trials),
    "minutes": lambda kind: number(kind.minutes, 1),
    "results": lambda kind: str(kind.found),
}
ANSWERS: Columns[Kind] = {
    "answers": lambda kind: kind.name,
    "said": lambda kind: str(kind.trials),
    "without text": lambda kind: str(kind.found),
    "share": lambda kind: percent(kind.found / kind.trials),
}


def curve(trials: Sequence[Trial]) -> List[Row]:
    """Both sides at each threshold, of the speakers that were fitted to and of the others."""
    return [
        _row([one for one in trials if one.speakers == speakers], speakers, threshold)
        for speakers in (FITTED, OTHERS)
        for threshold in (-math.inf, *THRESHOLDS)
    ]


def _row(trials: Sequence[Trial], speakers: str, threshold: float) -> Row:
    noises, answers = ([one for one in trials if one.is_spoken is spoken] for spoken in (False, True))
    return Row(
        speakers,
        threshold,
        sum(one.results(threshold) for one in noises),
        sum(one.duration_s for one in noises),
        sum(not one.results(threshold) for one in answers),
        len(answers),
    )


def kinds(trials: Sequence[Trial], is_spoken: bool) -> List[Kind]:
    """Each kind of noise with its results, or of answers with those that are lost."""
    chosen = [one for one in trials if one.is_spoken is is_spoken]
    rows: List[Kind] = []
    for name in sorted({one.kind for one in chosen}):
        alike = [one for one in chosen if one.kind == name]
        found = sum(not one.results() if is_spoken else one.results() for one in alike)
        rows.append(Kind(name, len(alike), sum(one.duration_s for one in alike) / 60, found))
    return rows


def draw(pyplot: Any, report: Report[Row]) -> Any:
    """Answers that are lost against results where nobody speaks, as the threshold moves; the one in use is marked."""
    figure, panel = pyplot.subplots(figsize=(9, 4), layout="constrained")
    for speakers, colour in ((FITTED, chart.OTHERS), (OTHERS, chart.OURS)):
        rows = [row for row in report.rows if row.speakers == speakers and row.noise_s and row.answers]
        at = [100 * row.lost / row.answers for row in rows], [900 * row.results / row.noise_s for row in rows]
        panel.plot(*at, color=colour, marker=".", label=f"speakers: {speakers}")
        used = [index for index, row in enumerate(rows) if row.threshold == 0]
        panel.plot([at[0][index] for index in used], [at[1][index] for index in used], "o", color=colour)
    panel.set_yscale("symlog", linthresh=10)
    panel.set_yticks([0, 3, 10, 30, 100, 300], ["0", "3", "10", "30", "100", "300"])
    panel.set_xlabel("answers without text, %")
    panel.set_ylabel("results in 15 minutes where nobody speaks")
    figure.suptitle(report.facts["conditions"], fontsize=9)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False)
    return figure


if __name__ == "__main__":
    chart.main(draw, Row)
