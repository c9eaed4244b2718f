"""A socket to listen on: of our own, or one that outlives the server by systemd's activation (sd_listen_fds(3)).

Errors:
    ActivationError   what was handed over is no socket to listen on; the text is one line
    CannotListen      an address cannot be had; the text is one line
"""

import os
import socket
from typing import Optional

_FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START


class ActivationError(Exception):
    """What was handed over cannot be used; the text is one line for who wrote the unit."""


class CannotListen(Exception):
    """An address cannot be had; the text is one line for who configured it.

    Args:
        section: of the configuration.
        ip, port: that it names.
        error: what the system says: OSError, or UnicodeError for what is no address.
    """

    def __init__(self, section: str, ip: str, port: int, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or error
        super().__init__(f"{section}: cannot listen on {ip} port {port}: {reason}")


def take_listener() -> Optional[socket.socket]:
    """The listening socket that this process was started with, None without one.

    To be called before anything else is opened: where the announcement is wrong, descriptor 3 would be that.

    Raises:
        ActivationError: there are several, or it is none for TCP.
    """
    announced = {name: os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if announced["LISTEN_PID"] != str(os.getpid()):  # meant for another process
        return None
    if announced["LISTEN_FDS"] != "1":
        raise ActivationError(f"LISTEN_FDS: got {announced['LISTEN_FDS']!r}; expected 1, for one ListenStream")
    try:
        listener = socket.socket(fileno=_FIRST_DESCRIPTOR)
        listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ActivationError(f"LISTEN_FDS: descriptor {_FIRST_DESCRIPTOR}: {error.strerror}") from error
    if not listening or listener.family not in (socket.AF_INET, socket.AF_INET6):
        raise ActivationError("LISTEN_FDS: expected a ListenStream with a port, and Accept=no")
    listener.setblocking(False)
    return listener


def bind_for(section: str, ip: str, port: int) -> socket.socket:
    """A socket of this process's own, not listening yet, for a section of the configuration. Raises CannotListen."""
    try:
        return _bind(ip, port)
    except (OSError, UnicodeError) as error:
        raise CannotListen(section, ip, port, error) from error


def _bind(ip: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(ip, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
