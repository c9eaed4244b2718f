"""What the configuration says about clients, their log and their recordings."""

import ipaddress
import os
from typing import List

from pydantic import Field, ValidationInfo, field_validator
from typing_extensions import Literal

from engine.config import LONGEST_S, ASRConfig, Section

_NETWORKS = "expected addresses and ranges such as 10.0.0.0/8 or fd00::/8"
_IPV4_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")  # RFC 4291, 2.5.5.2


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


class ServerConfig(ASRConfig):
    """Everything that the configuration file holds."""

    network: NetworkConfig = NetworkConfig()
    logging: LoggingConfig = LoggingConfig()
