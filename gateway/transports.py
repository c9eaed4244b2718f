"""What the system knows of a connection: that the other side has left, and that it takes nothing any more."""

import asyncio
import select
import socket

_KEEPALIVE_IDLE_S = 20  # also for what is between both sides and forgets connections on which nothing is said
_KEEPALIVE_EVERY_S = 10


def has_left(transport: asyncio.BaseTransport) -> bool:
    """Whether the other side has closed the connection, also behind what it has sent and nobody has read."""
    if transport.is_closing():  # its socket may be that of another by now
        return True
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))


def limit_silence(sock: socket.socket, patience_s: float) -> None:
    """End connections whose other side is gone or takes nothing of what it is sent for so long.

    Of a listening socket, those that are accepted inherit it (tcp(7): SO_KEEPALIVE, TCP_USER_TIMEOUT).
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_EVERY_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(patience_s * 1000)))
