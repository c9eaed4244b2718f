"""Threads for what would hold up the loop: disks and decoders."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, TypeVar

_T = TypeVar("_T")


class Threads:
    """A few threads, made when they are needed.

    Args:
        count: how many at most; further calls wait their turn.
        name: what they are called.
    """

    def __init__(self, count: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(self, call: "Callable[..., _T]", *arguments: Any) -> _T:
        """What the call returns or raises. Its end is waited for also when this is cancelled: then nobody is in it."""
        running = asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            running.exception()  # is of no interest any longer, and asyncio complains of one that nobody looked at
            raise
