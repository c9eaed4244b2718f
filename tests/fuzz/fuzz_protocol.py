"""`python -m tests.fuzz.fuzz_protocol FOLDER [options of libFuzzer]`: both sides of the protocol.

The inputs that reach something new are kept in FOLDER; without any there, it begins with whole sessions.
"""

import sys
from pathlib import Path
from typing import List, Tuple

import atheris

with atheris.instrument_imports(include=["util", "protocol"]):
    from protocol.packets import (
        MAGIC,
        MAX_DATA_BYTES,
        PREFIX_BYTES,
        Header,
        ProtocolError,
        encode_packet,
        encode_text,
        loggable,
    )
    from util import (
        AudioReceived,
        ClientEvent,
        ClientProtocol,
        EngineRequested,
        Event,
        ServerProtocol,
        error_packet,
        result_packet,
    )

from protocol.data import Cause, Detail, DetailedResult, Partial, SpeechStarted, SpeechStopped, UtteranceDone, Word
from protocol.packets import ErrorCode
from util import (
    END_PACKET,
    detailed_result_packet,
    event_packet,
    partial_packet,
    status_packet,
    welcome_packet,
)

Outcome = Tuple[List[Event], bytes, bool]


def serve(pieces: List[bytes]) -> Outcome:
    """What the server makes of a stream: events but audio, the audio, whether it is illegal."""
    protocol = ServerProtocol()
    events: List[Event] = []
    audio = b""
    try:
        for piece in pieces:
            protocol.receive(piece)
            while new := protocol.events():
                for event in new:
                    if isinstance(event, AudioReceived):
                        audio += event.pcm
                        continue
                    events.append(event)
                    if isinstance(event, EngineRequested):
                        protocol.grant_engine()
                        assert loggable(event.user).isprintable()
            assert len(protocol._parser._buffer) <= PREFIX_BYTES + MAX_DATA_BYTES + len(piece)
    except ProtocolError as error:
        if not str(error).isprintable():
            raise
        return events, audio, True
    return events, audio, False


def read(pieces: List[bytes], finished: bool) -> Tuple[List[ClientEvent], bool]:
    """What a client makes of a stream once it has sent all its audio, or has only asked for the status."""
    protocol = ClientProtocol()
    if finished:
        protocol.ask_engine("")
        protocol.begin()
        protocol.finish()
    else:
        protocol.ask_status()
    events: List[ClientEvent] = []
    try:
        for piece in pieces:
            protocol.receive(piece)
            while new := protocol.events():
                events += new
            assert len(protocol._parser._buffer) <= PREFIX_BYTES + MAX_DATA_BYTES + len(piece)
    except ProtocolError as error:
        if not str(error).isprintable():
            raise
        return events, True
    return events, False


def cut(data: bytes, sizes: bytes) -> List[bytes]:
    """`data` in pieces of the sizes that the bytes give, over and over."""
    pieces, offset, index = [], 0, 0
    while offset < len(data):
        size = 1 + (sizes[index % len(sizes)] if sizes else len(data))
        pieces.append(data[offset : offset + size])
        offset += size
        index += 1
    return pieces


def check(data: bytes) -> None:
    """Whatever comes, in whatever pieces: the same is understood, and nothing but ProtocolError is raised."""
    sizes, stream = data[1 : 1 + data[0] % 8] if data else b"", data[8:]
    for opening in (b"", MAGIC):
        whole, pieces = serve([opening + stream]), serve(cut(opening + stream, sizes))
        assert whole == pieces, (whole, pieces)
    for finished in (True, False):
        understood, piecemeal = read([stream], finished), read(cut(stream, sizes), finished)
        assert understood == piecemeal, (understood, piecemeal)


def write_seeds(folder: Path) -> None:
    """Whole sessions of either side."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        return
    user, audio = encode_text(Header.USER, "kiosk-7"), encode_packet(Header.AUDIO, bytes(64))
    client = user + b"%b0000" + audio + b"%c0000%f0000"
    options = encode_packet(Header.OPTIONS, b'{"language":"en","sample_rate":8000,"partial":true,"detail":true}')
    asking = user + options + b"%b0000" + audio + b"%e0000" + audio + b"%f0000"
    server = welcome_packet("engine 0 is yours") + status_packet(0, "running") + result_packet(1.2, 3.4, "안녕하세요")
    server += error_packet(ErrorCode.TIMEOUT, "nothing was received") + END_PACKET
    streams = (client, MAGIC + client, MAGIC + asking, server, telling_server(), b"%c0000", b"%s00ff")
    for number, stream in enumerate(streams):
        (folder / f"seed-{number}").write_bytes(b"\x03\x00\x05\x40\x00\x00\x00\x00" + stream)


def telling_server() -> bytes:
    """One that was asked for everything."""
    detail = Detail("en", Cause.SILENCE, -0.31, 0.02, 0.87, (Word("hello", 1.2, 1.9, 0.91),))
    partial = Partial(1.2, 1.9, "hel", "lo")
    return (
        welcome_packet("engine 0 is yours")
        + event_packet(SpeechStarted(1.2))
        + partial_packet(partial, detailed=False)
        + partial_packet(partial, detailed=True)
        + event_packet(SpeechStopped(1.9, Cause.SILENCE))
        + detailed_result_packet(DetailedResult(1.2, 1.9, "hello", detail))
        + event_packet(UtteranceDone(1.2, 1.9, Cause.SILENCE, has_text=True))
        + END_PACKET
    )


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]))
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
