"""How fast a client may send, and how often one is looked at. Pure: knows no clock."""

_BURST_S = 5.0  # of sending at the limit that a client may catch up on, after a network that stood still

# A look at a client, and what it makes an engine do, takes about 0.4 ms of a core, more than the audio in it. However
# many clients there are, all of them together are looked at so often for each core of the machine, and not more often
# than one process, the server, can look.
_LOOKS_PER_S_AND_CORE = 200
_LOOKS_PER_S = 3200
_QUIET_PAUSE_LIMIT_S = 0.15
_SPEAKING_PAUSE_LIMIT_S = 0.1
_PACKET_S = 0.03  # of audio, as many clients send it; a pause that is shorter saves nothing


class Pace:
    """The generic cell rate algorithm (ITU-T I.371, annex A) over seconds of audio.

    Args:
        max_speed: times real time; 0 for no limit.
    """

    def __init__(self, max_speed: float) -> None:
        self._max_speed = max_speed
        self._due_s = 0.0  # when what has come would have come at exactly the limit

    def wait_s(self, audio_s: float, now_s: float) -> float:
        """So many seconds of audio came now: how long to take no more."""
        if not self._max_speed:
            return 0.0
        self._due_s = max(self._due_s, now_s - _BURST_S) + audio_s / self._max_speed
        return max(0.0, self._due_s - now_s)


def quiet_pause_s(sessions: int, cores: int, closing_silence_s: float) -> float:
    """How long not to look at a client that says nothing, where so many have an engine or wait for one.

    `closing_silence_s` ends an utterance: half of it goes by at most.
    """
    return min(_pause_s(sessions, cores), _QUIET_PAUSE_LIMIT_S, closing_silence_s / 2)


def speaking_pause_s(sessions: int, cores: int, closing_silence_s: float) -> float:
    """The same for a client that speaks: as long as the machine has time for each packet, none."""
    pause_s = min(_pause_s(sessions, cores), _SPEAKING_PAUSE_LIMIT_S, closing_silence_s / 4)
    return pause_s if pause_s >= _PACKET_S else 0.0


def _pause_s(sessions: int, cores: int) -> float:
    return sessions / min(cores * _LOOKS_PER_S_AND_CORE, _LOOKS_PER_S)
