"""The configuration file → `ServerConfig`, or every fault in it at once.

Errors:
    ConfigError   the file cannot be used; `faults` has one line for each thing that is wrong
"""

import difflib
import re
from pathlib import Path
from typing import Any, Dict, Hashable, List, Optional, Tuple

import yaml
from pydantic import ValidationError

from config.sections import ServerConfig
from protocol.packets import printable

_LONGEST_SHOWN = 100  # characters of a value in a fault
_YAML = "expected YAML, with blanks behind colons and for indentation"

# pydantic's name of a fault → what a person calls the type that was expected.
_TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list, such as [a, b]",
}
_LOOKS_LIKE_A_VALUE = re.compile(r"[-+]?[\d.]+|true|false")


class ConfigError(Exception):
    """The configuration cannot be used.

    Attributes:
        faults: one line each, `section.key: what is wrong; what is expected`.
    """

    def __init__(self, faults: List[str]) -> None:
        self.faults = [printable(fault) for fault in faults]
        super().__init__("\n".join(self.faults))


def load_config(path: Path) -> ServerConfig:
    """Read a YAML file; what it leaves out has its default. Raises ConfigError with all faults at once."""
    try:
        content = _read_yaml(path.read_bytes())
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}; expected a configuration file, see --config"]) from error
    except _YamlError as error:
        raise ConfigError([f"{path}: {error}"]) from error
    try:
        return ServerConfig.model_validate(_without_empty_sections(content))
    except ValidationError as error:
        raise ConfigError([_fault_line(fault) for fault in error.errors()]) from error


def _without_empty_sections(content: Any) -> Any:
    """A file, or a section, with nothing in it leaves everything at its default."""
    if not isinstance(content, dict):
        return {} if content is None else content
    return {section: {} if values is None else values for section, values in content.items()}


# --- YAML ------------------------------------------------------------------------------------


class _YamlError(Exception):
    """A file is no YAML, or YAML with a key that stands twice; the text says where, without the file's name."""


def _read_yaml(data: bytes) -> Any:
    try:
        return yaml.load(data.decode("utf-8"), Loader=_Loader)
    except UnicodeDecodeError as error:
        line, byte = data.count(b"\n", 0, error.start) + 1, data[error.start]
        raise _YamlError(f"line {line}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8") from error
    except yaml.reader.ReaderError as error:
        before = data.decode("utf-8")[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        character = f"character #x{int(error.character):02x} is not allowed"
        raise _YamlError(f"{_place(line, column)}: {character}; {_YAML}") from error
    except yaml.MarkedYAMLError as error:
        raise _YamlError(_yaml_fault(error)) from error
    except RecursionError as error:
        raise _YamlError("it is nested too deep; expected sections with keys") from error


def _yaml_fault(error: yaml.MarkedYAMLError) -> str:
    mark: Optional[yaml.Mark] = error.problem_mark or error.context_mark
    where = "" if mark is None else f"{_place(mark.line + 1, mark.column + 1)}: "
    expected = "" if isinstance(error, _ValueFault) else f"; {_YAML}"
    return f"{where}{error.problem or error.context}{expected}"


def _place(line: int, column: int) -> str:
    return f"line {line}, column {column}"


class _ValueFault(yaml.constructor.ConstructorError):
    """What YAML's grammar allows and we do not; the text says what is expected."""

    def __init__(self, problem: str, node: yaml.Node) -> None:
        super().__init__(None, None, problem, node.start_mark)


class _Loader(yaml.SafeLoader):
    """A key that stands twice is an error, not the silent loss of the first; a value that cannot be says where."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # the base class says that it cannot be a key
            if key_node.value in seen:
                raise _ValueFault(f"{key_node.value} stands twice; expected it once", key_node)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except ValueError as error:  # no such date, no such number
            kind = node.tag.rpartition(":")[2]
            raise _ValueFault(f"{_shown(node.value)} is no {kind}; expected text in quotes, or one", node) from error


# --- values ----------------------------------------------------------------------------------


def _fault_line(fault: Any) -> str:
    location: Tuple[str, ...] = tuple(str(part) for part in fault["loc"])
    kind, value = fault["type"], fault["input"]
    where, got = ".".join(location) or "the file", _shown(value)
    if kind == "extra_forbidden":
        return f"{where}: unknown {'key' if location[1:] else 'section'}; {_known(location)}"
    if kind == "invalid_key":
        return f"{where}: got {got} for a key; expected text"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        how = ", each as key: value with a blank behind the colon" if isinstance(value, str) else ""
        return f"{where}: got {got}; expected a section with keys{how}"
    return f"{where}: {value_fault(fault)}{_about_quotes(kind, value) if kind in _TYPES else ''}"


def value_fault(fault: Any) -> str:
    """One of pydantic's errors about a value: what is there; what is expected."""
    kind, got = fault["type"], _shown(fault["input"])
    if kind in _TYPES:
        return f"got {got}; expected {_TYPES[kind]}"
    message = str(fault["ctx"]["error"]) if kind == "value_error" else str(fault["msg"])
    return f"got {got}; {message.replace('Input should be', 'expected')}"


def _about_quotes(kind: str, value: object) -> str:
    """What to do about a value whose quotes, or their absence, give it the wrong type."""
    if kind != "string_type":
        return ", without quotes" if isinstance(value, str) and _LOOKS_LIKE_A_VALUE.fullmatch(value) else ""
    if isinstance(value, bool):
        return " in quotes (without, yes, no, on and off are true and false)"
    return "" if isinstance(value, (list, dict)) else " in quotes"


def _shown(value: object) -> str:
    """A value much as it stands in the file."""
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def _known(location: Tuple[str, ...]) -> str:
    """`expected …`: where an unknown name belongs, else the likely one for a typo, else all there are."""
    *sections, name = location
    owner, _, key = name.rpartition(".") if "." in name else (_section_of(name), "", name)
    if not sections and owner in ServerConfig.model_fields:  # model.channel: 4, or channel: 4 alone
        return f"expected the section {owner}: with {key}: under it, indented"
    if sections and _section_of(name):
        return f"expected under {_section_of(name)}:"
    model: Any = ServerConfig
    for section in sections:
        model = model.model_fields[section].annotation
    known = list(model.model_fields)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"


def _section_of(key: str) -> str:
    """The section that has such a key; empty when none has."""
    sections: Dict[str, Any] = {name: field.annotation for name, field in ServerConfig.model_fields.items()}
    return next((name for name, section in sections.items() if key in section.model_fields), "")
