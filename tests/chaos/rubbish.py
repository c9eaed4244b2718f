"""What strangers send."""

import random
from typing import Dict, List

from protocol.packets import MAGIC
from tests.harness.wire import BEGIN, FINISH, STATUS, audio_packets, user_packet


def rubbish(chance: random.Random, pcm: bytes) -> List[bytes]:
    """Bytes that no decent client sends, in two pieces; `pcm` is for a session that goes wrong."""
    session = bytearray(MAGIC + user_packet("stranger") + BEGIN + audio_packets(pcm[:64000]) + FINISH)
    for _ in range(chance.randint(1, 20)):
        session[chance.randrange(len(session))] = chance.randrange(256)
    kinds: Dict[str, bytes] = {
        "nothing": b"",
        "noise": chance.randbytes(chance.choice([1, 100, 100_000])),
        "opening, then noise": MAGIC + chance.randbytes(chance.choice([1, 100, 100_000])),
        "a browser": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(500),
        "a session with wrong bytes": bytes(session),
        "the beginning of a session": bytes(session[: chance.randrange(200)]),
        "a long id": MAGIC + b"%uFFFF" + chance.randbytes(65535),
        "questions": MAGIC + user_packet() + BEGIN + STATUS * 5000,
    }
    data = chance.choice(list(kinds.values()))
    cut = chance.randrange(len(data) + 1)
    return [data[:cut], data[cut:]]
