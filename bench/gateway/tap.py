"""Stands between a gateway and its server and notes when what passes, so that the gateway alone is measured.

client ─▶ gateway ─▶ Tap ─▶ server        in: from a packet's sending until its sound has passed the tap
client ◀─ gateway ◀─ Tap ◀─ server        out: from a text's passing the tap until the client has it
"""

import asyncio
import bisect
import contextlib
from types import TracebackType
from typing import Dict, List, NamedTuple, Optional, Set, Tuple, Type

from gateway.upstream import Address
from protocol.data import parse_detailed_result, parse_partial
from protocol.packets import CLIENT_HEADERS, MAGIC, SERVER_HEADERS, Header, PacketParser

_PIECE_BYTES = 65536

Shown = Tuple[int, str]  # how many results were before it, and all the text that stands since then


class Passed(NamedTuple):
    """What passed in one session; times on the loop's clock.

    Attributes:
        audio: the time, and how many bytes of sound had passed by then.
        shown: when a text stood for the first time, stable or in a result.
    """

    audio: List[Tuple[float, int]]
    shown: Dict[Shown, float]


class Tap:
    """Listens on `address` while entered, and hands everything on to a server."""

    def __init__(self, server: Address) -> None:
        self._server = server
        self._is_recording = False
        self._sessions: List[_Session] = []
        self._tasks: Set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Tap":
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = Address(*self._listening.sockets[0].getsockname()[:2])
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def record(self) -> None:
        """From the next connection on, what passes is noted."""
        self._is_recording = True

    def passed(self) -> List[Passed]:
        """In the sessions since `record`; ends the recording."""
        sessions, self._sessions, self._is_recording = self._sessions, [], False
        return [session.passed() for session in sessions]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._server)
        with contextlib.closing(writer), contextlib.closing(server_writer):
            await self._pass_on(reader, writer, server_reader, server_writer)

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        session = _Session()
        if self._is_recording:
            self._sessions.append(session)
        noted = self._is_recording
        ways = [
            asyncio.ensure_future(_pump(reader, server_writer, session.said if noted else None)),
            asyncio.ensure_future(_pump(server_reader, writer, session.heard if noted else None)),
        ]
        self._tasks.update(ways)
        await asyncio.wait(ways)
        self._tasks.difference_update(ways)


class _Session:
    """The bytes of both ways, with the time of each."""

    def __init__(self) -> None:
        self.said: List[Tuple[float, bytes]] = []
        self.heard: List[Tuple[float, bytes]] = []

    def passed(self) -> Passed:
        """What they mean."""
        return Passed(self._audio(), self._shown())

    def _audio(self) -> List[Tuple[float, int]]:
        parser, skipped, total, audio = PacketParser(CLIENT_HEADERS), len(MAGIC), 0, []
        for time_s, data in self.said:
            parser.feed(data[skipped:])
            skipped = max(0, skipped - len(data))
            while (packet := parser.next_packet()) is not None:
                if packet.header is Header.AUDIO:
                    total += len(packet.data)
            audio.append((time_s, total))
        return audio

    def _shown(self) -> Dict[Shown, float]:
        parser, results = PacketParser(SERVER_HEADERS), 0
        shown: Dict[Shown, float] = {}
        for time_s, data in self.heard:
            parser.feed(data)
            while (packet := parser.next_packet()) is not None:
                if packet.header is Header.PARTIAL:
                    shown.setdefault((results, parse_partial(packet.data).stable), time_s)
                elif packet.header is Header.RESULT:
                    shown.setdefault((results, parse_detailed_result(packet.data).text), time_s)
                    results += 1
        return shown


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, notes: Optional[List[Tuple[float, bytes]]]
) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_PIECE_BYTES):
            if notes is not None:
                notes.append((loop.time(), data))
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def later_ms(sent: List[Tuple[float, int]], passed: Passed, seen: Dict[Shown, float]) -> List[float]:
    """For each text that the client saw: how much later than without a gateway, in milliseconds.

    That is how long the sound that it was told after took to the tap, and how long the text took from there.

    Args:
        sent: when the client sent, and how many bytes of sound it had sent by then.
        passed: the same session at the tap.
        seen: when the client saw what.
    """
    totals = [total for _, total in passed.audio]
    times = [time_s for time_s, _ in passed.audio]
    later = []
    for shown, seen_s in seen.items():
        if shown not in passed.shown:
            continue
        passed_s = passed.shown[shown]
        heard = [(sent_s, total) for sent_s, total in sent if total <= totals[bisect.bisect(times, passed_s) - 1]]
        in_s = 0.0
        if heard:
            sent_s, total = heard[-1]
            in_s = times[bisect.bisect_left(totals, total)] - sent_s
        later.append(1000 * (in_s + seen_s - passed_s))
    return later
