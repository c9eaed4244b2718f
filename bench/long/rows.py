"""What speech that goes on gives; as a command, its picture: `… ROWS.json CHART.svg`."""

from typing import Any, NamedTuple, Optional

from bench import chart
from bench.report import Columns, Report, number, percent


class Row(NamedTuple):
    """One recogniser on one language.

    Attributes:
        tokens: that were said; syllables in Korean, words in English.
        substitutions, deletions, insertions: of tokens.
        tokens_at_cuts, edits_at_cuts: of them, those where the server cuts by length; the same places for everybody.
    """

    name: str
    language: str
    times_real_time: float
    tokens: int
    substitutions: int
    deletions: int
    insertions: int
    tokens_at_cuts: int
    edits_at_cuts: int

    @property
    def edits(self) -> int:
        """Of all kinds."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def error_rate_at_cuts(self) -> Optional[float]:
        """None where nothing was said there."""
        return self.edits_at_cuts / self.tokens_at_cuts if self.tokens_at_cuts else None

    @property
    def error_rate_elsewhere(self) -> Optional[float]:
        """None where nothing was said elsewhere."""
        elsewhere = self.tokens - self.tokens_at_cuts
        return (self.edits - self.edits_at_cuts) / elsewhere if elsewhere else None


COLUMNS: Columns[Row] = {
    "recogniser": lambda row: row.name,
    "language": lambda row: row.language,
    "error rate": lambda row: f"{percent(row.edits / row.tokens)} ({'CER' if row.language == 'ko' else 'WER'})",
    "wrong": lambda row: str(row.substitutions),
    "lost": lambda row: str(row.deletions),
    "added": lambda row: str(row.insertions),
    "error rate at cuts": lambda row: percent(row.error_rate_at_cuts),
    "elsewhere": lambda row: percent(row.error_rate_elsewhere),
    "× real time": lambda row: number(row.times_real_time, 1),
}


def draw(pyplot: Any, report: Report[Row]) -> Any:
    """The error rate of everybody as bars, one panel for each language."""
    languages = list(dict.fromkeys(row.language for row in report.rows))
    names = list(dict.fromkeys(row.name for row in report.rows))
    figure, panels = pyplot.subplots(
        1, len(languages), sharey=True, squeeze=False, figsize=(10, 1.4 + 0.3 * len(names)), layout="constrained"
    )
    for panel, language in zip(panels[0], languages):
        rows = [row for row in report.rows if row.language == language]
        colours = [chart.OURS if row.name.startswith("a server") else chart.OTHERS for row in rows]
        bars = panel.barh([names.index(row.name) for row in rows], [row.edits / row.tokens for row in rows])
        for bar, colour in zip(bars, colours):
            bar.set_color(colour)
        panel.bar_label(bars, [percent(row.edits / row.tokens) for row in rows], padding=3)
        panel.set_yticks(range(len(names)), names)
        panel.set_xlim(0, 1.2 * max(row.edits / row.tokens for row in rows))  # room for the text at the longest bar
        panel.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_title(language)
    panels[0][0].invert_yaxis()
    figure.supxlabel(f"error rate ({report.facts['conditions']})", fontsize=9)
    return figure


if __name__ == "__main__":
    chart.main(draw, Row)
