"""Why a client of a door is not served; each door says it in its own words.

Errors:
    GatewayError       anything below; the text is one line for a person
    ├── Busy           no engine is free: it is worth trying again after `RETRY_AFTER_S`
    │   └── Full           the gateway has as many clients as it may have
    ├── NoServer       no server answers
    ├── BadRequest     what the client asks for cannot be; `param` names it
    │   ├── TooLarge       it sends more than is taken
    │   ├── TooSlow        it has not sent in time what it began to send
    │   └── WrongKind      it sends something of another kind than is taken
    ├── WrongKey       the client's key is missing or is none of ours
    └── SessionLost    the server ended the session, or went away in the middle of it
"""

from typing import Optional

RETRY_AFTER_S = 2


class GatewayError(Exception):
    """A client is not served, or not any longer; the text is one line for a person.

    Attributes:
        is_counted: in the metrics, by the first who knows where; an error passes several.
    """

    is_counted = False


class Busy(GatewayError):
    """No engine is free."""


class Full(Busy):
    """The gateway has as many clients as it may have."""


class NoServer(GatewayError):
    """No server answers."""


class BadRequest(GatewayError):
    """What the client asks for cannot be.

    Attributes:
        param: the name of the wrong parameter, in the words of the door; None where it is no parameter.
    """

    def __init__(self, message: str, param: Optional[str] = None) -> None:
        super().__init__(message)
        self.param = param


class TooLarge(BadRequest):
    """The client sends more than is taken."""


class TooSlow(BadRequest):
    """The client has not sent in time what it began to send."""


class WrongKind(BadRequest):
    """The client sends something of another kind than is taken."""


class WrongKey(GatewayError):
    """The client's key is missing, or none that is known."""


class SessionLost(GatewayError):
    """The server ended the session, or went away in the middle of it."""
