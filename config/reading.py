"""The configuration file → `ServerConfig`, or every fault in it at once.

Errors:
    ConfigError   the file cannot be used; `faults` has one line for each thing that is wrong
"""

import difflib
from pathlib import Path
from typing import Any, Dict, Hashable, List, Tuple

import yaml
from pydantic import ValidationError

from config.sections import ServerConfig
from util import printable

_LONGEST_SHOWN = 100  # characters of a value in a fault


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
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}; expected a configuration file, see --config"]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # not UTF-8, no such date or number, too deep
        raise ConfigError([f"{path}: {' '.join(str(error).split())}; expected YAML"]) from error
    try:
        return ServerConfig.model_validate(_without_empty_sections(content))
    except ValidationError as error:
        raise ConfigError([_fault_line(fault) for fault in error.errors()]) from error


def _without_empty_sections(content: Any) -> Any:
    """A file, or a section, with nothing in it leaves everything at its default."""
    if not isinstance(content, dict):
        return {} if content is None else content
    return {section: {} if values is None else values for section, values in content.items()}


class _UniqueKeyLoader(yaml.SafeLoader):
    """A key that stands twice is an error, not the silent loss of the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue  # the base class says that it cannot be a key
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key_node.value} stands twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def _fault_line(fault: Any) -> str:
    location: Tuple[str, ...] = tuple(str(part) for part in fault["loc"])
    where, got = ".".join(location) or "the file", _shown(fault["input"])
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown {'key' if location[1:] else 'section'}; {_near_key(location)}"
    if fault["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{where}: got {got}; expected a section with keys"
    message = str(fault["ctx"]["error"]) if fault["type"] == "value_error" else str(fault["msg"])
    expected = message.replace("Input should be", "expected")
    return f"{where}: got {got}; {expected}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def _near_key(location: Tuple[str, ...]) -> str:
    """`expected …`: the likely key for a typo, else all there are."""
    model: Any = ServerConfig
    for section in location[:-1]:
        model = model.model_fields[section].annotation
    known = list(model.model_fields)
    near = difflib.get_close_matches(location[-1], known, n=1)
    return f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
