"""How clients go away, at every point of a session."""

from typing import Callable, List

from protocol.packets import MAGIC
from tests.harness.wire import FINISH, Wire, audio_packets, user_packet


def leave_before_speaking(wire: Wire, speech: bytes) -> None:
    wire.send(MAGIC[:10])


def leave_after_the_opening(wire: Wire, speech: bytes) -> None:
    wire.send(MAGIC)


def leave_between_user_and_begin(wire: Wire, speech: bytes) -> None:
    wire.send(MAGIC + user_packet())
    assert wire.read() is not None


def leave_in_mid_packet(wire: Wire, speech: bytes) -> None:
    wire.start()
    wire.send(b"%s03C0" + bytes(100))


def leave_in_mid_speech(wire: Wire, speech: bytes) -> None:
    wire.start()
    wire.send(audio_packets(speech))


def leave_while_results_are_computed(wire: Wire, speech: bytes) -> None:
    wire.start()
    wire.send(audio_packets(speech) + FINISH)


Leaving = Callable[[Wire, bytes], None]
LEAVINGS: List[Leaving] = [
    leave_before_speaking,
    leave_after_the_opening,
    leave_between_user_and_begin,
    leave_in_mid_packet,
    leave_in_mid_speech,
    leave_while_results_are_computed,
]
