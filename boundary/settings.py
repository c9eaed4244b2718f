"""What an engine is started with, and what one of its sessions asks for."""

from typing import Any, Mapping, NamedTuple, Optional, Union

from pydantic import BaseModel, Field, ValidationInfo, field_validator
from typing_extensions import Literal

from config.sections import (
    AudioConfig,
    ModelConfig,
    Section,
    ServerConfig,
    VadConfig,
    check_language,
    check_prompt,
)
from recognizer.catalog import AUTO_LANGUAGE


class EngineSettings(BaseModel):
    """All that an engine knows of the configuration: nothing of clients, certificates or files."""

    model_config = Section.model_config

    audio: AudioConfig = AudioConfig()
    model: ModelConfig = ModelConfig()
    vad: VadConfig = VadConfig()
    log_level: str = "info"


class EngineSlot(NamedTuple):
    """What one engine is started with beside that.

    Attributes:
        engine: its index.
        loan: of the weights that it computes with (`boundary.messages.Lent`); None where it has them otherwise.
    """

    engine: int
    loan: Optional[bytes] = None


def engine_settings(config: ServerConfig) -> EngineSettings:
    """The engines' part of the configuration."""
    return EngineSettings(audio=config.audio, model=config.model, vad=config.vad, log_level=config.logging.level)


class SessionSettings(NamedTuple):
    """How one session is heard: what its client asks for (`protocol.data.SessionOptions`), else the configuration."""

    language: str
    task: str
    prompt: str
    sample_rate: int
    encoding: str
    silence_ms: int
    turn: str
    partial: bool = False
    events: bool = False
    detail: bool = False

    @property
    def bytes_per_second(self) -> int:
        """Of the audio as the client sends it."""
        return self.sample_rate * (2 if self.encoding == "pcm_s16le" else 1)


class AskedSettings(Section):
    """The keys of `%o`, checked; one that is not there is left to `default_session`.

    `size` of the model is in the context of the validation.
    """

    language: str = AUTO_LANGUAGE
    task: Literal["transcribe", "translate"] = "transcribe"
    prompt: str = ""
    sample_rate: int = Field(16000, ge=8000, le=48000)
    encoding: Literal["pcm_s16le", "mulaw", "alaw"] = "pcm_s16le"
    silence_ms: int = Field(480, ge=100, le=5000)
    turn: Literal["auto", "manual"] = "auto"
    partial: bool = False
    events: bool = False
    detail: bool = False

    @field_validator("language")
    @classmethod
    def _is_spoken(cls, language: str, info: ValidationInfo) -> str:
        return check_language(language, str((info.context or {}).get("size", "")))

    @field_validator("prompt")
    @classmethod
    def _is_text(cls, prompt: str) -> str:
        return check_prompt(prompt)


def default_session(settings: Union[EngineSettings, ServerConfig]) -> SessionSettings:
    """How a session is heard whose client asks for nothing."""
    return SessionSettings(
        language=settings.model.language,
        task=settings.model.task,
        prompt=settings.model.prompt,
        sample_rate=settings.audio.sample_rate,
        encoding="pcm_s16le",
        silence_ms=settings.vad.silence_threshold * settings.audio.frame_duration_ms,
        turn="auto",
    )


def asked_session(config: ServerConfig, asked: Mapping[str, Any]) -> SessionSettings:
    """How a session is heard whose client asks for that; raises pydantic's ValidationError."""
    default = default_session(config)
    checked = AskedSettings.model_validate(asked, context={"size": config.model.size})
    return default._replace(**checked.model_dump(exclude_unset=True))
