"""Erlang's formula B (A. K. Erlang, 1917): sessions come independently of each other; their lengths may be any.

Offered load is the mean number of sessions that there would be if nobody were refused, "erlang": sessions a second
times their mean length in seconds.
"""


def busy_share(engines: int, load: float) -> float:
    """Share of sessions that find every engine in use and are refused (Erlang B).

    Args:
        engines: 0 and more.
        load: offered, in erlang.
    """
    share = 1.0
    for number in range(1, engines + 1):
        share = load * share / (number + load * share)
    return share


def engines_for(load: float, share: float) -> int:
    """The fewest engines of which at most this share of sessions finds every one in use."""
    engines, busy = 0, 1.0
    while busy > share:
        engines += 1
        busy = load * busy / (engines + load * busy)
    return engines


def load_for(engines: int, share: float) -> float:
    """The most load of which at most this share of sessions finds every one of the engines in use, within 0.01 %."""
    low, high = 0.0, 2.0 * engines + 10
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if busy_share(engines, middle) <= share else (low, middle)
    return low
