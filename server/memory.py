"""How much memory a process takes, as the kernel counts it."""

import re
from typing import NamedTuple

_LINE = re.compile(rb"^(\w+): +(\d+) kB$", re.MULTILINE)


class Memory(NamedTuple):
    """Of a process, in bytes.

    Attributes:
        rss: all that is in memory, also what it shares with others: the model, for an engine.
        private: what would be free without it.
    """

    rss: int
    private: int


def memory_of(pid: int) -> Memory:
    """Of a process of the same user. Raises OSError where it is gone, or the system does not tell (proc(5))."""
    with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        kilobytes = {name: int(size) for name, size in _LINE.findall(file.read())}
    if b"Rss" not in kilobytes:
        raise OSError(f"/proc/{pid}/smaps_rollup is empty: the process has ended")
    private = kilobytes.get(b"Private_Clean", 0) + kilobytes.get(b"Private_Dirty", 0)
    return Memory(1024 * kilobytes[b"Rss"], 1024 * private)
