"""Memory that an engine gives back."""

import subprocess
import sys

MB = 1_000_000

# In a process of its own: what else the tests have taken moves the figures.
ENGINE = f"""
import numpy as np
from forkserver import heap
heap.prepare_to_work()
def work(n_bytes):
    several = [np.ones({MB // 8} // 4) for _ in range(n_bytes // ({MB} // 4))]  # of 0.25 MB each: from the heap
    last = np.ones(8)  # behind them, so that the heap does not end with what is free
    return last
taken = heap.Taken()
kept, before = [], heap._anonymous_bytes()
for n_bytes in (30 * {MB}, 5 * {MB}):
    kept.append(work(n_bytes))
    worked = heap._anonymous_bytes()
    taken.give_back_much()
    print((worked - before) // {MB}, (heap._anonymous_bytes() - before) // {MB})
kept.append(np.ones(30 * {MB} // 8))
work(5 * {MB})
taken.give_back()
work(5 * {MB})
worked = heap._anonymous_bytes()
taken.give_back_much()
print((worked - before) // {MB}, (heap._anonymous_bytes() - before) // {MB})
"""


def test_what_a_long_utterance_took_is_given_back_and_what_a_short_one_takes_is_kept() -> None:
    told = subprocess.run([sys.executable, "-c", ENGINE], check=True, capture_output=True, text=True, timeout=60).stdout
    large, little, beside_what_stays = (tuple(map(int, line.split())) for line in told.splitlines())
    assert large[0] >= 25
    assert large[1] <= 5
    assert little[1] >= little[0] - 1 >= large[1] + 3
    assert beside_what_stays[1] >= beside_what_stays[0] - 1 >= 32
