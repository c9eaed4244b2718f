"""What the configuration file may hold: its sections, their keys, defaults and limits."""

import ipaddress
import os
import re
from typing import List

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from typing_extensions import Annotated, Literal

from recognizer.catalog import AUTO_LANGUAGE, LANGUAGE_CODES, MODEL_NAMES

LONGEST_S = 1_000_000  # of any time limit: poll(2) counts milliseconds in 32 bits
_LONGEST_SEGMENT_S = 30  # what Whisper hears at once
_LONGEST_PROMPT = 2000  # characters
_NETWORKS = "expected addresses and ranges such as 10.0.0.0/8 or fd00::/8"
_IPV4_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")  # RFC 4291, 2.5.5.2


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


def check_language(language: str, size: str) -> str:
    """`language` of a model of that size; raises ValueError."""
    if language != AUTO_LANGUAGE and language not in LANGUAGE_CODES:
        raise ValueError("expected a language code of Whisper, such as ko or en, or auto")
    if size.endswith(".en") and language not in ("en", AUTO_LANGUAGE):
        raise ValueError(f"expected en, the only language of the model {size}")
    return language


def check_prompt(prompt: str) -> str:
    """A prompt of a length that can be; raises ValueError."""
    if len(prompt) > _LONGEST_PROMPT:
        raise ValueError(f"expected at most {_LONGEST_PROMPT} characters, got {len(prompt)}")
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise ValueError("expected text; half of a surrogate pair is none")
    return prompt


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

    context: Literal["auto", "off"] = "auto"  # what was said just before helps, where speech goes on

    @field_validator("prompt")
    @classmethod
    def _is_short(cls, prompt: str) -> str:
        return check_prompt(prompt)

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
        return check_language(language, str(info.data.get("size", "")))


class VadConfig(Section):
    """Where utterances begin and end."""

    mode: Annotated[int, _one_of(0, 1, 2, 3)] = 1
    silence_threshold: int = Field(16, ge=1)  # unvoiced frames that end a segment
    max_speech_duration: float = Field(10, ge=1, le=_LONGEST_SEGMENT_S)


class NetworkConfig(Section):
    """Where clients connect, who may, how much and for how long; times in seconds."""

    ip: str = "127.0.0.1"
    port: int = Field(5000, ge=0, le=65535)  # 0: any free one, named in the log
    socket_timeout: float = Field(60, gt=0, le=LONGEST_S)
    engine_wait: float = Field(0, ge=0, le=LONGEST_S)
    max_connections: int = Field(256, ge=1, le=65535)
    drain_timeout: float = Field(30, ge=0, le=LONGEST_S)
    max_per_ip: int = Field(0, ge=0, le=65535)  # connections from one address; 0: no limit
    max_session: float = Field(0, ge=0, le=LONGEST_S)  # 0: no limit
    max_speed: float = Field(0, ge=0, le=1000)  # times real time; 0: as fast as an engine recognises
    allow: List[str] = Field(default_factory=list)  # address ranges that may connect; none: everybody
    tls_cert: str = ""  # PEM, with the key unless tls_key names it; "": no TLS
    tls_key: str = ""
    tls_client_ca: str = ""  # PEM; clients need a certificate from one of these authorities

    @field_validator("max_speed")
    @classmethod
    def _keeps_up(cls, max_speed: float) -> float:
        if 0 < max_speed < 1:
            raise ValueError("expected 0 (no limit) or at least 1: a microphone must keep up")
        return max_speed

    @field_validator("allow")
    @classmethod
    def _are_networks(cls, allow: List[str]) -> List[str]:
        for text in allow:
            try:
                network = ipaddress.ip_network(text)
            except ValueError as error:
                raise ValueError(f"{error}; {_NETWORKS}") from error
            if "%" in text or (network.version == 6 and network.subnet_of(_IPV4_MAPPED)):
                raise ValueError(f"{text} would match nobody; {_NETWORKS}, IPv4 as such, and no zone")
        return allow

    @field_validator("tls_cert", "tls_key", "tls_client_ca")
    @classmethod
    def _is_file(cls, path: str, info: ValidationInfo) -> str:
        if not path:
            return path
        if not os.path.isfile(path):
            raise ValueError("expected a file that exists")
        if info.field_name != "tls_cert" and not info.data.get("tls_cert", path):
            raise ValueError("expected network.tls_cert beside it")
        return path


class LoggingConfig(Section):
    """The log, and recordings of what clients send."""

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    log_path: str = "./log/stt_log"
    save_pcm: bool = False
    pcm_path: str = "./data"


class ServerConfig(BaseModel):
    """Everything that the configuration file holds."""

    model_config = Section.model_config

    audio: AudioConfig = AudioConfig()
    network: NetworkConfig = NetworkConfig()
    model: ModelConfig = ModelConfig()
    vad: VadConfig = VadConfig()
    logging: LoggingConfig = LoggingConfig()

    @property
    def closing_silence_s(self) -> float:
        """Seconds of silence that end an utterance."""
        return self.vad.silence_threshold * self.audio.frame_duration_ms / 1000
