"""The configuration: its sections, what is allowed in them, and how it is read.

Errors:
    ConfigError   the file cannot be used; `faults` has one line for each thing that is wrong
"""

import difflib
import os
import re
from pathlib import Path
from typing import Any, Dict, Hashable, List, Tuple, Type, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from typing_extensions import Annotated, Literal

from recognizer.catalog import AUTO_LANGUAGE, LANGUAGE_CODES, MODEL_NAMES
from util import printable

LONGEST_S = 1_000_000  # of any time limit: poll(2) counts milliseconds in 32 bits
_LONGEST_SEGMENT_S = 30  # what Whisper hears at once
_LONGEST_PROMPT = 2000  # characters
_LONGEST_SHOWN = 100  # characters of a value in a fault


class Section(BaseModel):
    """One section of the configuration: exact types, no unknown keys, no change after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, validate_default=True)


def _one_of(*allowed: int) -> BeforeValidator:
    """A check for numbers that, unlike Literal, does not take `true` for 1 or 16000.0 for 16000."""

    def check(value: object) -> object:
        if type(value) is not int or value not in allowed:
            raise ValueError(f"expected {', '.join(str(number) for number in allowed[:-1])} or {allowed[-1]}")
        return value

    return BeforeValidator(check)


class AudioConfig(Section):
    """What clients send, and the frames that VAD sees."""

    sample_rate: Annotated[int, _one_of(8000, 16000, 32000, 48000)] = 16000
    frame_duration_ms: Annotated[int, _one_of(10, 20, 30)] = 30
    frame_size: int = 480  # samples

    @field_validator("frame_size")
    @classmethod
    def _matches_rate(cls, frame_size: int, info: ValidationInfo) -> int:
        if {"sample_rate", "frame_duration_ms"} <= info.data.keys():
            rate, duration_ms = info.data["sample_rate"], info.data["frame_duration_ms"]
            if frame_size * 1000 != rate * duration_ms:
                expected = rate * duration_ms // 1000
                raise ValueError(f"expected {expected} samples ({duration_ms} ms at {rate} Hz)")
        return frame_size

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame of 16-bit samples."""
        return 2 * self.frame_size

    @property
    def bytes_per_second(self) -> int:
        """Bytes of one second of 16-bit samples."""
        return 2 * self.sample_rate


class ModelConfig(Section):
    """The recogniser, and how many of it run."""

    size: str = "base"
    device: str = "auto"
    language: str = "ko"
    channel: int = Field(1, ge=1, le=1024)  # engines, so clients at once
    beam_size: int = Field(5, ge=1, le=100)
    hang_timeout: float = Field(60, gt=0, le=LONGEST_S)
    compute: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    window: Literal["auto", "full"] = "auto"
    prompt: str = ""  # names and jargon that are likely to be said; Whisper reads the last 223 tokens
    task: Literal["transcribe", "translate"] = "transcribe"

    @field_validator("prompt")
    @classmethod
    def _is_short(cls, prompt: str) -> str:
        if len(prompt) > _LONGEST_PROMPT:
            raise ValueError(f"expected at most {_LONGEST_PROMPT} characters, got {len(prompt)}")
        return prompt

    @field_validator("size")
    @classmethod
    def _is_known(cls, size: str) -> str:
        if size not in MODEL_NAMES and not os.path.exists(os.path.expanduser(size)):
            raise ValueError(f"expected a path that exists, or one of {', '.join(MODEL_NAMES)}")
        return size

    @field_validator("device")
    @classmethod
    def _is_named(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", device):
            raise ValueError("expected cpu, cuda, cuda:N or auto")
        return device

    @field_validator("language")
    @classmethod
    def _is_spoken(cls, language: str, info: ValidationInfo) -> str:
        if language != AUTO_LANGUAGE and language not in LANGUAGE_CODES:
            raise ValueError("expected a language code of Whisper, such as ko or en, or auto")
        if str(info.data.get("size", "")).endswith(".en") and language not in ("en", AUTO_LANGUAGE):
            raise ValueError(f"expected en, the only language of the model {info.data['size']}")
        return language


class VadConfig(Section):
    """Where utterances begin and end."""

    mode: Annotated[int, _one_of(0, 1, 2, 3)] = 1
    silence_threshold: int = Field(16, ge=1)  # unvoiced frames that end a segment
    max_speech_duration: float = Field(10, ge=1, le=_LONGEST_SEGMENT_S)


class ASRConfig(BaseModel):
    """What an engine needs to know."""

    model_config = Section.model_config

    audio: AudioConfig = AudioConfig()
    model: ModelConfig = ModelConfig()
    vad: VadConfig = VadConfig()

    @property
    def closing_silence_s(self) -> float:
        """Seconds of silence that end an utterance."""
        return self.vad.silence_threshold * self.audio.frame_duration_ms / 1000


# --- reading ---------------------------------------------------------------------------------

_Config = TypeVar("_Config", bound=ASRConfig)


class ConfigError(Exception):
    """The configuration cannot be used.

    Attributes:
        faults: one line each, `section.key: what is wrong; what is expected`.
    """

    def __init__(self, faults: List[str]) -> None:
        self.faults = [printable(fault) for fault in faults]
        super().__init__("\n".join(self.faults))


def load_config(path: Path, config_type: Type[_Config]) -> _Config:
    """Read a YAML file; what it leaves out has its default. Raises ConfigError with all faults at once."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}; expected a configuration file, see --config"]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # not UTF-8, no such date or number, too deep
        raise ConfigError([f"{path}: {' '.join(str(error).split())}; expected YAML"]) from error
    try:
        return config_type.model_validate(_without_empty_sections(content))
    except ValidationError as error:
        raise ConfigError([_fault_line(fault, config_type) for fault in error.errors()]) from error


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


def _fault_line(fault: Any, config_type: Type[ASRConfig]) -> str:
    location: Tuple[str, ...] = tuple(str(part) for part in fault["loc"])
    where, got = ".".join(location) or "the file", _shown(fault["input"])
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown {'key' if location[1:] else 'section'}; {_near_key(location, config_type)}"
    if fault["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{where}: got {got}; expected a section with keys"
    message = str(fault["ctx"]["error"]) if fault["type"] == "value_error" else str(fault["msg"])
    expected = message.replace("Input should be", "expected")
    return f"{where}: got {got}; {expected}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def _near_key(location: Tuple[str, ...], config_type: Type[ASRConfig]) -> str:
    """`expected …`: the likely key for a typo, else all there are."""
    model: Any = config_type
    for section in location[:-1]:
        model = model.model_fields[section].annotation
    known = list(model.model_fields)
    near = difflib.get_close_matches(location[-1], known, n=1)
    return f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
