"""What the configuration says about clients, their log and their recordings."""

from pydantic import Field
from typing_extensions import Literal

from engine.config import LONGEST_S, ASRConfig, Section


class NetworkConfig(Section):
    """Where clients connect, and how long anything may take; times in seconds."""

    ip: str = "127.0.0.1"
    port: int = Field(5000, ge=0, le=65535)  # 0: any free one, named in the log
    socket_timeout: float = Field(60, gt=0, le=LONGEST_S)
    engine_wait: float = Field(0, ge=0, le=LONGEST_S)
    max_connections: int = Field(256, ge=1, le=65535)
    drain_timeout: float = Field(30, ge=0, le=LONGEST_S)


class LoggingConfig(Section):
    """The log, and recordings of what clients send."""

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    log_path: str = "./log/stt_log"
    save_pcm: bool = False
    pcm_path: str = "./data"


class ServerConfig(ASRConfig):
    """Everything that the configuration file holds."""

    network: NetworkConfig = NetworkConfig()
    logging: LoggingConfig = LoggingConfig()
