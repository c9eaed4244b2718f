"""`python -m gateway [--config FILE]`: start, signals, exit status."""

import argparse
import asyncio
import logging
import os
import ssl
import sys
from pathlib import Path
from typing import Optional, Sequence

import uvloop

import logger
from config.reading import ConfigError, load_config
from config.sections import GatewayConfig, ServerConfig
from gateway.services import services_for
from gateway.serving import Serving, ServingError

_log = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 2


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the gateway until it is stopped; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway", description="Standard doors of the speech-to-text server."
    )
    default = Path(__file__).resolve().parents[1] / "config_vad.yaml"
    parser.add_argument("--config", type=Path, default=default, help="configuration file (default: %(default)s)")
    path = parser.parse_args(arguments).config
    os.umask(0o077)
    try:
        config = load_config(path)
        path = f"{config.logging.log_path}_gateway"
        log = logger.ServerLog(config.logging.level, path, config.logging.format, config.logging.max_mb)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except logger.LogError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    try:
        return _run(config)
    finally:
        log.stop()


def _run(config: ServerConfig) -> int:
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        serving = Serving(services_for(config, _server_tls(config.gateway)))
        loop.run_until_complete(serving.run())
    except ServingError as error:
        _log.critical("%s", error)
        return EXIT_FAILED
    finally:
        loop.close()
    return EXIT_OK


def _server_tls(gateway: GatewayConfig) -> Optional[ssl.SSLContext]:
    if not gateway.server_tls:
        return None
    try:
        return ssl.create_default_context(cafile=gateway.server_ca or None)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ServingError(f"gateway.server_ca: {gateway.server_ca} cannot be used: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
