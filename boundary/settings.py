"""What an engine is started with."""

from pydantic import BaseModel

from config.sections import AudioConfig, ModelConfig, Section, ServerConfig, VadConfig


class EngineSettings(BaseModel):
    """All that an engine knows of the configuration: nothing of clients, certificates or files."""

    model_config = Section.model_config

    audio: AudioConfig = AudioConfig()
    model: ModelConfig = ModelConfig()
    vad: VadConfig = VadConfig()
    log_level: str = "info"


def engine_settings(config: ServerConfig) -> EngineSettings:
    """The engines' part of the configuration."""
    return EngineSettings(audio=config.audio, model=config.model, vad=config.vad, log_level=config.logging.level)
