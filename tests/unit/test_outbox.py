"""How long a client may take over what it is sent."""

import math

from hypothesis import given
from hypothesis import strategies as st

from server.outbox import Outbox


def test_what_is_queued_has_to_be_taken_in_time_however_little_at_once() -> None:
    outbox = Outbox(timeout_s=10)
    assert outbox.due_s == math.inf
    outbox.add(bytes(100), 0)
    for second in range(1, 10):
        outbox.taken(1, second)
        outbox.add(bytes(100), second)
    assert outbox.due_s == 10


def test_who_has_taken_it_has_as_long_for_what_came_since() -> None:
    outbox = Outbox(timeout_s=10)
    outbox.add(bytes(100), 0)
    outbox.add(bytes(50), 5)
    outbox.taken(100, 6)
    assert outbox.due_s == 16
    outbox.taken(50, 7)
    assert (outbox.due_s, len(outbox)) == (math.inf, 0)


@given(st.lists(st.binary(max_size=20)), st.lists(st.integers(1, 30)))
def test_bytes_come_out_in_order(packets: "list[bytes]", sizes: "list[int]") -> None:
    outbox, out = Outbox(timeout_s=10), b""
    for packet in packets:
        outbox.add(packet, 0)
    for size in [*sizes, 10_000]:
        piece = outbox.first(size)
        out += piece
        outbox.taken(len(piece), 1)
    assert out == b"".join(packets)
    assert outbox.due_s == math.inf
