"""The short run of the chaos; `make soak` is the long one."""

from tests.chaos.chaos import ENGINES, run
from tests.chaos.flood import flood

DURATION_S = 15
SEED = 20
CONNECTIONS = 1000
GROWTH_MB = 40.0  # of the server's own process, whose heap settles


def test_in_chaos_every_session_is_right_or_told_and_afterwards_the_server_is_as_before(speech: bytes) -> None:
    """Defends everything in server/ and engine/ that outlives a death, a freeze, a vanished client, or rubbish."""
    report = run(DURATION_S, SEED, speech)
    print(report)
    assert report.wrongs == []
    assert report.faults == []
    assert report.outcomes["right"] > 0
    assert sum(report.deeds.values()) > 0
    assert report.after.engines == ENGINES
    assert report.after.threads == report.before.threads
    assert report.after.descriptors == report.before.descriptors
    assert report.after.memory_mb < report.before.memory_mb + GROWTH_MB


def test_hostile_connections_leave_the_server_as_it_was(speech: bytes) -> None:
    """Defends: nothing is kept of a connection that has ended, and nothing is said about each."""
    report = flood(CONNECTIONS, SEED, speech)
    print(report)
    assert report.still_right
    assert report.faults == 0
    assert report.after.threads == report.before.threads
    assert report.after.descriptors == report.before.descriptors
    assert report.after.memory_mb < report.before.memory_mb + GROWTH_MB
