"""What tests ask of the project's documents."""

import re
from collections import Counter
from pathlib import Path
from typing import Counter as CounterType
from typing import Iterator, List, NamedTuple

from tests.harness.server import PROJECT

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CELL_END = re.compile(r"(?<!\\)\|")


class Heading(NamedTuple):
    """`level` is the number of `#`."""

    level: int
    title: str


class CodeBlock(NamedTuple):
    """A fenced block; `language` may be empty."""

    language: str
    code: str


Table = List[List[str]]  # rows of cells, the first with the titles


class Document:
    """A Markdown file, as far as its form can be compared.

    Attributes:
        text: all of it but the insides of code blocks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        whole = path.read_text(encoding="utf-8")
        self.code_blocks = _code_blocks(whole)
        self.text = _FENCE.sub("", whole)
        self.headings = [Heading(len(match[1]), match[2]) for match in _HEADING.finditer(self.text)]
        self.tables = list(_tables(self.text))
        self.links = _LINK.findall(self.text)
        self._whole = whole

    def code(self, language: str) -> str:
        """The one block in that language."""
        (code,) = self.codes(language)
        return code

    def codes(self, language: str) -> List[str]:
        """Every block in that language."""
        return [block.code for block in self.code_blocks if block.language == language]

    def code_below(self, heading: str) -> List[CodeBlock]:
        """The blocks of the section with that heading of the second level."""
        (section,) = re.findall(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", self._whole, re.MULTILINE | re.DOTALL)
        return _code_blocks(section)

    def table(self, title: str) -> Table:
        """The one table whose first column has that title."""
        (table,) = [table for table in self.tables if table[0][0] == title]
        return table

    @property
    def anchors(self) -> List[str]:
        """What a link may name behind `#`, as GitHub makes it of the headings."""
        seen: CounterType[str] = Counter()
        anchors = []
        for heading in self.headings:
            slug = re.sub(r"[^\w\- ]", "", heading.title.lower()).replace(" ", "-")
            anchors.append(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        return anchors


def _code_blocks(text: str) -> List[CodeBlock]:
    return [CodeBlock(match[2], match[3]) for match in _FENCE.finditer(text)]


def documents() -> List[Path]:
    """Every Markdown file of the project; not those of packages."""
    return sorted(path for path in PROJECT.rglob("*.md") if not any(map(_is_foreign, path.relative_to(PROJECT).parts)))


def _is_foreign(part: str) -> bool:
    return part.startswith(".") or part == "node_modules"


def without_comments(code: str) -> str:
    """Code in Python, JavaScript, Java or of a shell without what a translation may change."""
    return re.sub(r" *(#|//) [^\n]*$", "", code, flags=re.MULTILINE)


def _tables(text: str) -> Iterator[Table]:
    for lines in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in _CELL_END.split(line)[1:-1]] for line in lines.splitlines()]
        yield [rows[0], *rows[2:]]
