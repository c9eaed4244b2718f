"""Why a session cannot begin or go on.

Errors:
    ClientError             anything below; the text is one line for a person
    ├── ConnectError        no server there
    ├── ServerError         the server ended the session; `code` and `detail` say why
    ├── WelcomeTimeout      the server gave neither an engine nor a reason in time
    ├── ConnectionLost      the connection ended before the session did
    │   └── StrangeServer   what answers there is no server of this kind
    ├── AudioFileError      a file that cannot be sent without losing something
    │   └── UndecodedFile   its audio has to be decoded first
    ├── MicrophoneError     there is none, or it gives nothing more
    └── OutputError         results that cannot be written
"""

from protocol.packets import printable


class ClientError(Exception):
    """The session cannot begin or go on; the text is one line for a person."""


class ConnectError(ClientError):
    """No server answers at the address."""


class ServerError(ClientError):
    """The server ended the session.

    Attributes:
        code: one of `util.ErrorCode`, as text: a newer server may know more.
        detail: what the server adds; may be empty.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(printable(f"{code}: {detail}" if detail else code))
        self.code = code
        self.detail = detail


class WelcomeTimeout(ClientError):
    """The server gave neither an engine nor a reason in time."""


class ConnectionLost(ClientError):
    """The connection ended before the session did."""


class StrangeServer(ConnectionLost):
    """What answers at the address is no server of this kind."""


class AudioFileError(ClientError):
    """The file holds no audio that can be sent without losing something."""


class UndecodedFile(AudioFileError):
    """The file holds audio of a kind that has to be decoded first.

    Attributes:
        what: of which kind it is.
        advice: how to make a file of it that can be sent.
    """

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}; {advice}")
        self.what = what
        self.advice = advice


class MicrophoneError(ClientError):
    """There is no microphone, or it gives nothing more."""


class OutputError(ClientError):
    """Results cannot be written where they should go."""
