"""What the configuration file may hold: its sections, their keys, defaults and limits."""

import ipaddress
import os
import re
from typing import Dict, List, Tuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from typing_extensions import Annotated, Literal

from recognizer.catalog import AUTO_LANGUAGE, LANGUAGE_CODES, MODEL_NAMES

LONGEST_S = 1_000_000  # of any time limit: poll(2) counts milliseconds in 32 bits
_LONGEST_SEGMENT_S = 30  # what Whisper hears at once
_LONGEST_PROMPT = 2000  # characters
_NETWORKS = "expected addresses and ranges such as 10.0.0.0/8 or fd00::/8"
_IPV4_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")  # RFC 4291, 2.5.5.2


Door = Literal["realtime", "rest", "deepgram", "vosk", "wyoming", "page"]
_DOORS: Tuple[Door, ...] = ("realtime", "rest", "deepgram", "vosk", "wyoming", "page")


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


def _check_file(path: str, info: ValidationInfo, beside: Dict[str, str], section: str) -> str:
    """The path of a file that exists; `beside` names the setting that must not be empty either."""
    if not path:
        return path
    if not os.path.isfile(path):
        raise ValueError("expected a file that exists")
    other = beside.get(info.field_name or "")
    if other is not None and not info.data.get(other, path):
        raise ValueError(f"expected {section}.{other} beside it")
    return path


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
    compiled: Literal["auto", "off"] = "auto"  # matrices in int8
    prompt: str = ""  # names and jargon that are likely to be said; Whisper reads the last 223 tokens
    task: Literal["transcribe", "translate"] = "transcribe"

    context: Literal["auto", "off"] = "auto"  # what was said just before helps, where speech goes on
    share: Literal["auto", "off"] = "auto"  # on cards: one copy of the weights on each, for all engines

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
    stop_delay: float = Field(0, ge=0, le=LONGEST_S)  # for balancers to notice a stop
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
        return _check_file(path, info, {"tls_key": "tls_cert", "tls_client_ca": "tls_cert"}, "network")


class GatewayConfig(Section):
    """The standard doors: where clients connect, who may, and which servers recognise; times in seconds."""

    servers: List[str] = Field(default_factory=lambda: ["127.0.0.1:5000"], min_length=1)
    server_tls: bool = False
    server_ca: str = ""  # PEM; the servers' certificates are from it; "": from the system's authorities
    ip: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)  # HTTP and WebSocket; 0: any free one, named in the log
    doors: List[Door] = Field(default_factory=lambda: list(_DOORS))
    vosk_port: int = Field(2700, ge=0, le=65535)  # for clients that cannot name a path
    wyoming_port: int = Field(10300, ge=0, le=65535)
    metrics_port: int = Field(0, ge=0, le=65535)  # at metrics.ip; 0: figures stand at `port`
    api_keys: List[str] = Field(default_factory=list)  # none: everybody may
    cors_origins: List[str] = Field(default_factory=list)  # pages of other hosts that may ask; "*": all
    max_connections: int = Field(4096, ge=1, le=65535)
    max_upload_mb: int = Field(200, ge=1, le=100_000)
    drain_timeout: float = Field(30, ge=0, le=LONGEST_S)
    tls_cert: str = ""  # PEM, with the key unless tls_key names it; "": no TLS
    tls_key: str = ""

    @field_validator("servers")
    @classmethod
    def _are_addresses(cls, servers: List[str]) -> List[str]:
        for server in servers:
            host, _, port = server.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) <= 65535:
                raise ValueError(f"{server} is no address; expected HOST:PORT, such as 127.0.0.1:5000 or [::1]:5000")
        return servers

    @field_validator("api_keys")
    @classmethod
    def _can_be_shown(cls, api_keys: List[str]) -> List[str]:
        if not all(re.fullmatch("[!-~]+", key) for key in api_keys):  # what a header can hold
            raise ValueError("expected keys of printable ASCII characters without blanks")
        return api_keys

    @property
    def addresses(self) -> List[Tuple[str, int]]:
        """Host and port of each server."""
        parts = [server.rpartition(":") for server in self.servers]
        return [(host.strip("[]"), int(port)) for host, _, port in parts]

    @field_validator("tls_cert", "tls_key", "server_ca")
    @classmethod
    def _is_file(cls, path: str, info: ValidationInfo) -> str:
        return _check_file(path, info, {"tls_key": "tls_cert", "server_ca": "server_tls"}, "gateway")


class MetricsConfig(Section):
    """Figures and health over HTTP."""

    ip: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)  # 0: off


class AgentConfig(Section):
    """What a balancer asks: how much of the server is free."""

    ip: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)  # 0: off


class LoggingConfig(Section):
    """The log, and recordings of what clients send."""

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    format: Literal["text", "json"] = "text"
    log_path: str = "./log/stt_log"
    max_mb: int = Field(0, ge=0, le=100_000)  # of one log file; 0: no limit
    save_pcm: bool = False
    pcm_path: str = "./data"


class ServerConfig(BaseModel):
    """Everything that the configuration file holds."""

    model_config = Section.model_config

    audio: AudioConfig = AudioConfig()
    network: NetworkConfig = NetworkConfig()
    model: ModelConfig = ModelConfig()
    vad: VadConfig = VadConfig()
    gateway: GatewayConfig = GatewayConfig()
    metrics: MetricsConfig = MetricsConfig()
    agent: AgentConfig = AgentConfig()
    logging: LoggingConfig = LoggingConfig()

    @property
    def closing_silence_s(self) -> float:
        """Seconds of silence that end an utterance."""
        return self.vad.silence_threshold * self.audio.frame_duration_ms / 1000
