"""What the documents say: the same as the code, the same in both languages, and links that lead somewhere."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Optional

import pytest
import yaml
from pydantic import ValidationError

from config.sections import LONGEST_S, ServerConfig
from protocol.data import (
    Cause,
    Detail,
    DetailedResult,
    Partial,
    SessionOptions,
    SpeechStarted,
    SpeechStopped,
    UtteranceDone,
    Word,
    encode_event,
    encode_options,
)
from protocol.packets import (
    MAGIC,
    ErrorCode,
    Header,
    encode_packet,
    encode_text,
)
from recognizer.catalog import MODEL_NAMES
from server import VERSION
from server.options import settings_of
from tests.harness.markdown import CodeBlock, Document, Table, documents, without_comments
from tests.harness.server import PROJECT
from util import (
    END_PACKET,
    detailed_result_packet,
    error_packet,
    event_packet,
    partial_packet,
    result_packet,
    status_packet,
    welcome_packet,
)

README = PROJECT / "README.md"
README_KO = PROJECT / "README.ko.md"
PROTOCOL = PROJECT / "docs" / "protocol.md"
PROTOCOL_KO = PROJECT / "docs" / "protocol.ko.md"
PAIRS = [(README, README_KO), (PROTOCOL, PROTOCOL_KO)]

# --- settings

FREE = {  # what is allowed is a sentence, or depends on another setting
    "audio.frame_size",
    "network.ip",
    "network.allow",
    "network.tls_cert",
    "network.tls_key",
    "network.tls_client_ca",
    "model.language",
    "model.prompt",
    "gateway.servers",
    "gateway.server_ca",
    "gateway.ip",
    "gateway.doors",
    "gateway.api_keys",
    "gateway.cors_origins",
    "gateway.tls_cert",
    "gateway.tls_key",
    "metrics.ip",
    "agent.ip",
    "logging.log_path",
    "logging.pcm_path",
}


class Setting(NamedTuple):
    """A row of the table."""

    key: str
    default: str
    allowed: str


def settings(readme: Path) -> list[Setting]:
    title = "key" if readme == README else "키"
    return [Setting(plain(key), default, plain(allowed)) for key, default, allowed, _ in rows(readme, title)]


def rows(readme: Path, title: str) -> Table:
    return Document(readme).table(title)[1:]


def plain(cell: str) -> str:
    return cell.replace("`", "")


def model_defaults() -> dict[str, Any]:
    """Every setting of the model with its default, in order."""
    sections = ServerConfig().model_dump()
    return {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}


readmes = pytest.mark.parametrize("readme", [README, README_KO], ids=lambda path: path.name)


@readmes
def test_the_readme_lists_every_setting_in_the_order_of_the_model(readme: Path) -> None:
    assert [setting.key for setting in settings(readme)] == list(model_defaults())


def test_the_shipped_configuration_holds_every_setting_in_the_order_of_the_model() -> None:
    sections = yaml.safe_load((PROJECT / "config_vad.yaml").read_text(encoding="utf-8"))
    assert [f"{section}.{key}" for section, values in sections.items() for key in values] == list(model_defaults())


@readmes
def test_the_readme_gives_the_defaults_of_the_model(readme: Path) -> None:
    empty = {"empty": "", "빈 값": ""}
    told = {
        setting.key: empty[setting.default] if setting.default in empty else yaml.safe_load(plain(setting.default))
        for setting in settings(readme)
    }
    assert told == model_defaults()


class Range(NamedTuple):
    """Numbers that are allowed; no `high` is as much as any time limit may be."""

    low: int
    includes_low: bool
    high: Optional[int]
    extra: Optional[int] = None  # allowed as well


def parse_range(cell: str) -> Optional[Range]:
    """`≥ 1`, `> 0`, `1–30`, or `0, or 1–1000`; None for anything else."""
    match = re.fullmatch(r"(?:(\d+)(?:, or| 또는) )?(?:(\d+)–(\d+)|([≥>]) (\d+))", cell)
    if match is None:
        return None
    extra, low, high, relation, bound = match.groups()
    return Range(int(low or bound), relation != ">", int(high) if high else None, int(extra) if extra else None)


def parse_choice(cell: str) -> list[str]:
    """`0, 1, 2, 3`: what may be chosen."""
    return re.split(r", or | 또는 |, ", cell)


def fault(key: str, value: object) -> str:
    """What the model says against a value; "" when it takes it."""
    section, name = key.split(".")
    try:
        ServerConfig.model_validate({section: {name: value}})
    except ValidationError as error:
        return str(error.errors()[0]["msg"])
    return ""


def choices(key: str) -> set[str]:
    """What the model takes, in its own words."""
    words = fault(key, -1 if isinstance(model_defaults()[key], int) else "no such thing")
    listed = re.sub(r"^.*?(expected|should be) (a path that exists, or one of )?", "", words)
    return set(re.split(r", | or ", listed.replace("'", "")))


def identifier(value: object) -> str:
    return value.key if isinstance(value, Setting) else str(value)


SETTINGS = [(readme.name, setting) for readme in (README, README_KO) for setting in settings(readme)]
NUMBERS = [(name, setting) for name, setting in SETTINGS if parse_range(setting.allowed)]
CHOICES = [row for row in SETTINGS if row not in NUMBERS and row[1].key not in FREE]


@pytest.mark.parametrize(("name", "setting"), NUMBERS, ids=identifier)
def test_the_model_takes_the_numbers_that_the_readme_allows_and_no_others(name: str, setting: Setting) -> None:
    allowed = parse_range(setting.allowed)
    assert allowed is not None
    inside = [allowed.low + 1, allowed.high or LONGEST_S]
    outside = [allowed.low - 1] if allowed.low else [-1]
    outside += [allowed.high + 1] if allowed.high else []
    (inside if allowed.includes_low else outside).append(allowed.low)
    if allowed.extra is not None:
        inside.append(allowed.extra)
        outside = [value for value in outside if value != allowed.extra]
    assert [value for value in inside if fault(setting.key, value)] == []
    assert [value for value in outside if not fault(setting.key, value)] == []


@pytest.mark.parametrize(("name", "setting"), CHOICES, ids=identifier)
def test_the_model_takes_the_choices_that_the_readme_lists_and_no_others(name: str, setting: Setting) -> None:
    listed = parse_choice(setting.allowed)
    if setting.key in ("logging.save_pcm", "gateway.server_tls"):
        assert listed == ["true", "false"]
        assert not any(fault(setting.key, value) for value in (True, False))
    elif setting.key == "model.size":
        assert set(listed[:-1]) == choices(setting.key) == set(MODEL_NAMES)
    else:
        assert set(listed) == choices(setting.key)


# --- the protocol

DETAILED = DetailedResult(
    *(1.2, 3.4, "안녕하세요"), Detail("ko", Cause.SILENCE, -0.31, 0.02, 0.87, (Word("안녕하세요", 1.2, 1.9, 0.91),))
)


def test_the_bytes_of_the_protocol_document_are_those_that_are_sent() -> None:
    expected = [
        MAGIC,
        encode_text(Header.USER, "김철수"),
        encode_packet(Header.OPTIONS, encode_options(SessionOptions(partial=True))),
        encode_packet(Header.BEGIN),
        encode_packet(Header.END_UTTERANCE),
        encode_packet(Header.FINISH),
        encode_packet(Header.CLIENT_STATUS),
        encode_packet(Header.AUDIO, bytes(960))[:6],
        welcome_packet("engine 0 is yours"),
        result_packet(1.2, 3.4, "안녕하세요"),
        detailed_result_packet(DETAILED)[:19],
        partial_packet(Partial(1.2, 2.0, "안녕", "하세"), detailed=False),
        event_packet(SpeechStarted(1.2)),
        error_packet(ErrorCode.SERVER_TOO_BUSY),
        error_packet(ErrorCode.TIMEOUT, "nothing received"),
        status_packet(0, "sleeping"),
        END_PACKET,
    ]
    assert list(hex_dumps(Document(PROTOCOL))) == expected


def test_the_detail_of_the_protocol_document_is_what_is_sent() -> None:
    (block,) = [block for block in Document(PROTOCOL).code_blocks if block.language == "json"]
    sent = detailed_result_packet(DETAILED)[6:]
    assert json.loads(block.code) == json.loads(sent)
    assert f"{len(sent)} bytes (0x{len(sent):04X})" in Document(PROTOCOL).text


def test_every_option_is_explained_with_the_values_that_the_server_takes() -> None:
    table = Document(PROTOCOL).table("key")[1:]
    assert [plain(row[0]) for row in table] == [field.name for field in fields(SessionOptions)]
    for key, values, _ in table:
        for value in re.findall(r"`([a-z][a-z0-9_]*)`", values):
            parsed = value == "true" if value in ("true", "false") else value
            settings_of(ServerConfig(), {plain(key): parsed})


def test_every_event_and_every_cause_is_explained() -> None:
    events = [plain(row[0]) for row in Document(PROTOCOL).table("`event`")[1:]]
    kinds = (SpeechStarted(1), SpeechStopped(1, Cause.ASKED), UtteranceDone(1, 2, Cause.ASKED, has_text=True))
    assert events == [json.loads(encode_event(event))["event"] for event in kinds]
    assert [plain(row[0]) for row in Document(PROTOCOL).table("`cause`")[1:]] == [cause.value for cause in Cause]


def hex_dumps(document: Document) -> Iterator[bytes]:
    for block in document.code_blocks:
        for line in block.code.splitlines():
            match = re.match(r"(?:[0-9a-f]{2} {1,2})+[0-9a-f]{2}\b", line)
            if match:
                yield bytes.fromhex(match[0])


def test_every_error_code_is_explained() -> None:
    codes = [plain(row[0]) for row in Document(PROTOCOL).table("code")[1:-1]]
    assert codes == [code.value for code in ErrorCode]


def test_the_latencies_of_the_protocol_document_are_those_of_the_benchmark() -> None:
    benchmark = Document(PROJECT / "docs" / "benchmarks.md").table("clients")
    measured = [[row[0], *row[2:5]] for row in benchmark[1:] if row[0].isdigit()]
    told = Document(PROTOCOL).table("clients that speak at once")[1:]
    assert [[row[0].partition(",")[0], *row[1:]] for row in told] == measured


# --- version


def test_the_version_that_is_told_is_the_newest_of_the_changelog() -> None:
    newest = next(heading.title for heading in Document(PROJECT / "CHANGELOG.md").headings if heading.level == 2)
    assert re.match(r"\[([^]]+)\]", newest)[1].lower() == VERSION  # type: ignore[index]


# --- languages


@pytest.mark.parametrize(("english", "korean"), PAIRS, ids=lambda path: path.name)
class TestBothLanguages:
    def test_have_the_same_sections(self, english: Path, korean: Path) -> None:
        levels = [[heading.level for heading in Document(path).headings] for path in (english, korean)]
        assert levels[0] == levels[1]

    def test_have_the_same_tables_with_the_same_names_in_the_first_column(self, english: Path, korean: Path) -> None:
        shapes = [[shape(table) for table in Document(path).tables] for path in (english, korean)]
        assert shapes[0] == shapes[1]

    def test_have_the_same_figures_in_their_tables(self, english: Path, korean: Path) -> None:
        found = [[sorted(figures(table)) for table in Document(path).tables] for path in (english, korean)]
        assert found[0] == found[1]

    def test_have_the_same_code(self, english: Path, korean: Path) -> None:
        blocks = [[comparable(block) for block in Document(path).code_blocks] for path in (english, korean)]
        assert blocks[0] == blocks[1]

    def test_have_as_many_items_in_their_lists(self, english: Path, korean: Path) -> None:
        items = [re.findall(r"^(- \[ \]|-|\d\.) ", Document(path).text, re.MULTILINE) for path in (english, korean)]
        assert items[0] == items[1]

    def test_link_to_each_other(self, english: Path, korean: Path) -> None:
        assert korean.name in Document(english).links
        assert english.name in Document(korean).links


def shape(table: Table) -> list[tuple[int, list[str]]]:
    """Of each row, how many cells it has and what stands as code in the first one."""
    return [(len(row), re.findall(r"`[^`]+`", row[0])) for row in table]


def figures(table: Table) -> list[str]:
    """Numbers of three characters and more; a shorter one may be a word in the other language."""
    return re.findall(r"\d[\d.,]+\d", " ".join(cell for row in table for cell in row))


def comparable(block: CodeBlock) -> CodeBlock:
    """Without what a translation changes: comments, and the words in drawings."""
    return CodeBlock(block.language, "" if block.language == "mermaid" else without_comments(block.code))


# --- links


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_link_leads_to_a_file_and_its_anchor_to_a_heading(path: Path) -> None:
    dead = [link for link in Document(path).links if not re.match(r"[a-z]+:", link) and not leads_somewhere(path, link)]
    assert dead == []


def leads_somewhere(path: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = path.parent / name if name else path
    return target.exists() and (not anchor or anchor in Document(target).anchors)
