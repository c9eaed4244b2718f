"""Keys for a short time, which a page or a device can be given in place of one of `gateway.api_keys`.

A secret holds all that there is to it, signed: when it ends, and what is asked for in a session that it opens. So
nothing is kept, and one that a gateway has made is good at every gateway with the same keys, also after a restart.
"""

import base64
import binascii
import hashlib
import hmac
import json
import time
from typing import Any, Callable, Dict, Optional, Sequence, Tuple

_PREFIX = "ek_"
_LONGEST_CHARS = 6000  # clients send it in a header, and those have limits


class SecretTooLong(ValueError):
    """More is asked for than a secret can hold."""


class ClientSecrets:
    """Makes secrets and knows them again.

    Args:
        keys: `gateway.api_keys`.
        now_s: the Unix time.
    """

    def __init__(self, keys: Sequence[str], now_s: Callable[[], float] = time.time) -> None:
        # Slow on purpose: who has a secret must not find a key by trying many.
        self._key = hashlib.scrypt("\0".join(keys).encode(), salt=b"client secrets", n=1 << 14, r=8, p=1)
        self._now_s = now_s

    def make(self, session: Dict[str, Any], valid_s: int) -> Tuple[str, int]:
        """A secret that opens sessions like this, and the Unix time at which it ends. Raises SecretTooLong."""
        until_s = int(self._now_s()) + valid_s
        payload = json.dumps({"until": until_s, "session": session}, separators=(",", ":")).encode()
        secret = f"{_PREFIX}{_text(payload)}.{_text(self._signature(payload))}"
        if len(secret) > _LONGEST_CHARS:
            raise SecretTooLong(f"the session is too long for a secret: {len(secret)} characters of {_LONGEST_CHARS}")
        return secret, until_s

    def session(self, secret: str) -> Optional[Dict[str, Any]]:
        """What is asked for in a session that it opens; None where it is none of ours, or its time is over."""
        payload_text, _, signature_text = secret[len(_PREFIX) :].partition(".")
        try:
            payload, signature = _bytes(payload_text), _bytes(signature_text)
        except ValueError:  # binascii.Error and UnicodeError are
            return None
        if not secret.startswith(_PREFIX) or not hmac.compare_digest(signature, self._signature(payload)):
            return None
        fields: Dict[str, Any] = json.loads(payload)
        return fields["session"] if self._now_s() < fields["until"] else None

    def _signature(self, payload: bytes) -> bytes:
        return hmac.new(self._key, payload, hashlib.sha256).digest()


def _text(data: bytes) -> str:
    """Of characters that a subprotocol of a WebSocket may have."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return binascii.a2b_base64(text.translate({ord("-"): "+", ord("_"): "/"}).encode("ascii") + b"===")
