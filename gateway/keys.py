"""Who may use the doors: `gateway.api_keys`, wherever clients put theirs."""

import hmac
from typing import Iterable, Iterator, Mapping, Sequence

from gateway.errors import WrongKey

_SCHEMES = ("bearer", "token")  # OpenAI's, Deepgram's
_KEY_HEADERS = ("api-key", "x-api-key")
REALTIME_TOKEN = "realtime-token."  # before a key of NVIDIA's client in a subprotocol
_SUBPROTOCOL_PREFIXES = ("openai-insecure-api-key.", REALTIME_TOKEN)  # browsers cannot set headers of a WebSocket
_SUBPROTOCOL_SCHEMES = frozenset({"token", "bearer"})  # Deepgram's in browsers: the next subprotocol is the key


class Keys:
    """The keys that are known; with none of them, everybody may."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def check(self, headers: Mapping[str, str], subprotocols: Sequence[str] = ()) -> None:
        """Raises WrongKey unless one of the places where clients put a key holds one that is known.

        Args:
            headers: of the request, found in lower case.
            subprotocols: that a WebSocket's client offers.
        """
        if not self._keys:
            return
        keys = list(shown(headers, subprotocols))
        if not keys:
            raise WrongKey("a key is needed; send it as the header 'Authorization: Bearer KEY'")
        if not any(hmac.compare_digest(key.encode("utf-8", "replace"), known) for key in keys for known in self._keys):
            raise WrongKey("the key is none that this gateway knows")


def shown(headers: Mapping[str, str], subprotocols: Sequence[str]) -> Iterator[str]:
    """The keys that a client shows, as in `check`; some may be empty."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() in _SCHEMES:
        yield key.strip()
    for name in _KEY_HEADERS:
        if name in headers:
            yield headers[name]
    for index, subprotocol in enumerate(subprotocols):
        if subprotocol.startswith(_SUBPROTOCOL_PREFIXES):
            yield subprotocol.partition(".")[2]
        elif subprotocol.lower() in _SUBPROTOCOL_SCHEMES:
            yield from subprotocols[index + 1 : index + 2]
