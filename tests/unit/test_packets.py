"""Packets: framing, lengths, texts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.packets import (
    CLIENT_HEADERS,
    MAX_DATA_BYTES,
    SERVER_HEADERS,
    ErrorCode,
    Header,
    Packet,
    PacketParser,
    ProtocolError,
    cut_utf8,
    encode_packet,
    encode_text,
    loggable,
    printable,
)
from util import (
    END_PACKET,
    Result,
    error_packet,
    parse_result,
    result_packet,
    status_packet,
    welcome_packet,
)

SESSION = [
    Packet(Header.USER, "사용자-7".encode()),
    Packet(Header.CLIENT_STATUS, b""),
    Packet(Header.BEGIN, b""),
    Packet(Header.AUDIO, b"%f0000"),  # audio may look like a packet
    Packet(Header.AUDIO, bytes(range(256))),
    Packet(Header.AUDIO, b"\x01"),
    Packet(Header.FINISH, b""),
]


def encode(packets: list[Packet]) -> bytes:
    return b"".join(encode_packet(packet.header, packet.data) for packet in packets)


def parse(*chunks: bytes, accepted: frozenset[Header] = CLIENT_HEADERS) -> list[Packet]:
    parser = PacketParser(accepted)
    packets: list[Packet] = []
    for chunk in chunks:
        parser.feed(chunk)
        packets += iter(parser.next_packet, None)
    return packets


def split(stream: bytes, cuts: list[int]) -> list[bytes]:
    bounds = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in zip(bounds, bounds[1:])]


# --- framing


@pytest.mark.parametrize("cut", range(len(encode(SESSION)) + 1))
def test_packets_are_the_same_for_every_cut_into_two(cut: int) -> None:
    stream = encode(SESSION)
    assert parse(stream[:cut], stream[cut:]) == SESSION


def test_packets_are_the_same_byte_by_byte() -> None:
    assert parse(*split(encode(SESSION), list(range(len(encode(SESSION)))))) == SESSION


@settings(deadline=None)
@given(
    st.lists(st.builds(Packet, st.sampled_from(sorted(CLIENT_HEADERS)), st.binary(max_size=300)), max_size=8),
    st.lists(st.integers(0, 10_000), max_size=30),
)
def test_packets_are_the_same_for_any_chunks(packets: list[Packet], cuts: list[int]) -> None:
    assert parse(*split(encode(packets), cuts)) == packets


@pytest.mark.parametrize("data", [b"", b"x", bytes(960), bytes(MAX_DATA_BYTES)], ids=len)
def test_any_length_that_fits_is_read_back(data: bytes) -> None:
    assert parse(encode_packet(Header.AUDIO, data)) == [Packet(Header.AUDIO, data)]


def test_more_data_than_a_length_can_say_is_refused() -> None:
    with pytest.raises(ValueError, match="65535"):
        encode_packet(Header.AUDIO, bytes(MAX_DATA_BYTES + 1))


def test_the_length_is_written_in_upper_case_hexadecimal() -> None:
    assert encode_packet(Header.AUDIO, bytes(960))[:6] == b"%s03C0"
    assert encode_packet(Header.AUDIO, bytes(0xABCD))[:6] == b"%sABCD"


@pytest.mark.parametrize("digits", [b"00ab", b"00AB", b"00aB", b"00Ab"])
def test_both_letter_cases_of_a_length_are_read(digits: bytes) -> None:
    assert parse(b"%s" + digits + bytes(0xAB)) == [Packet(Header.AUDIO, bytes(0xAB))]


@pytest.mark.parametrize(
    "digits",
    [
        *(b"-001", b"+01f", b" 1f ", b" 01f", b"1f  ", b"1_00", b"00_1", b"0x1f", b"0X1F", b"0o17"),
        *(b"001\n", b"\t01f", b"1\x000f", b"001h", b"00g1", b"    ", b"....", b"1.00", b"1e+1", b"%f00"),
        *("١٢".encode(), "\uff11".encode() + b"0", b"\xff\xff\xff\xff"),
    ],
)
def test_a_length_that_is_not_four_hexadecimal_digits_is_illegal(digits: bytes) -> None:
    with pytest.raises(ProtocolError, match="four hexadecimal digits"):
        parse(b"%s" + digits + bytes(0x2000))


@pytest.mark.parametrize("header", [*sorted(SERVER_HEADERS), b"%x", b"%U", b"%B", b"%S", b"%%", b"%\x00", b"%\xff"])
def test_a_header_that_this_end_may_not_receive_is_illegal_before_its_length_is_there(header: bytes) -> None:
    parser = PacketParser(CLIENT_HEADERS)
    parser.feed(header[:1])
    assert parser.next_packet() is None
    parser.feed(header[1:])
    with pytest.raises(ProtocolError, match="unknown header"):
        parser.next_packet()


@pytest.mark.parametrize("byte", [b"u", b"\x00", b"\n", b" ", b"\xff", b"W"])
def test_a_packet_that_does_not_start_with_a_percent_sign_is_illegal_at_once(byte: bytes) -> None:
    with pytest.raises(ProtocolError, match="starts with '%'"):
        parse(END_PACKET + byte, accepted=SERVER_HEADERS)


def test_the_packets_before_an_illegal_one_are_read() -> None:
    parser = PacketParser(CLIENT_HEADERS)
    parser.feed(b"%b0000%s0002ab%x")
    assert parser.next_packet() == Packet(Header.BEGIN, b"")
    assert parser.next_packet() == Packet(Header.AUDIO, b"ab")
    with pytest.raises(ProtocolError):
        parser.next_packet()


@pytest.mark.parametrize(
    ("received", "mid_packet"), [(b"", False), (b"%", True), (b"%s0002a", True), (b"%s0002ab", False)]
)
def test_a_packet_that_has_begun_is_told_from_a_pause_between_packets(received: bytes, mid_packet: bool) -> None:
    parser = PacketParser(CLIENT_HEADERS)
    parser.feed(received)
    while parser.next_packet() is not None:
        pass
    assert parser.mid_packet is mid_packet
    assert parser.packets == (received == b"%s0002ab")


def test_packets_that_were_read_take_no_memory() -> None:
    parser = PacketParser(CLIENT_HEADERS)
    packet = encode_packet(Header.AUDIO, bytes(960))
    for _ in range(1000):
        parser.feed(packet)
        assert parser.next_packet() is not None
    assert len(parser._buffer) <= len(packet)


# --- texts


@pytest.mark.parametrize("text", ["안녕하세요", "naïve", "😀", "", "가" * 1000])
def test_the_length_of_a_text_counts_bytes_not_characters(text: str) -> None:
    packet = encode_text(Header.USER, text)
    assert int(packet[2:6], 16) == len(text.encode())
    assert parse(packet) == [Packet(Header.USER, text.encode())]


@pytest.mark.parametrize(
    ("text", "data_bytes"),
    [
        ("a" * 65_535, 65_535),
        ("a" * 65_536, 65_535),
        ("가" * 30_000, 65_535),  # a multiple of three
        ("a" + "가" * 30_000, 65_533),
        ("aa" + "가" * 30_000, 65_534),
        ("😀" * 20_000, 65_532),
    ],
    ids=repr,
)
def test_a_text_too_long_is_cut_at_a_character_boundary(text: str, data_bytes: int) -> None:
    (packet,) = parse(encode_text(Header.RESULT, text), accepted=SERVER_HEADERS)
    assert len(packet.data) == data_bytes
    assert text.startswith(packet.data.decode())


@given(st.text(max_size=40), st.integers(0, 60))
def test_a_cut_text_is_the_longest_beginning_that_fits(text: str, limit_bytes: int) -> None:
    cut = cut_utf8(text, limit_bytes).decode()
    assert text.startswith(cut)
    assert len(cut.encode()) <= limit_bytes
    assert cut == text or len(text[: len(cut) + 1].encode()) > limit_bytes


def test_a_character_that_has_no_bytes_is_replaced() -> None:
    assert encode_text(Header.USER, "a\ud800b") == b"%u0003a?b"


# --- the server's packets


def test_a_result_has_its_times_with_one_decimal_before_the_text() -> None:
    assert result_packet(1.2, 3.4, "안녕하세요") == b"%R0019" + "1.2 3.4 : 안녕하세요".encode()
    assert result_packet(0, 12.34, "one : two") == b"%R00140.0 12.3 : one : two"


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.text(max_size=100))
def test_a_result_is_read_back_as_it_was_written(start: int, end: int, text: str) -> None:
    (packet,) = parse(result_packet(start / 10, end / 10, text), accepted=SERVER_HEADERS)
    assert parse_result(packet.data) == Result(start / 10, end / 10, text)


@pytest.mark.parametrize(
    "data", [b"", b"1.2 3.4", b"1.2 : x", b"1.2 3.4 x", b"a b : x", b"1.2 3.4 5.6 : x", b"1.2  3.4 : x", b"\xff"]
)
def test_what_is_no_result_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="a result is 'START END : TEXT'"):
        parse_result(data)


def test_the_other_packets_of_the_server_have_their_documented_bytes() -> None:
    assert END_PACKET == b"%F0000"
    assert welcome_packet("안녕") == b"%L0006" + "안녕".encode()
    assert status_packet(0, "running") == b"%C0011engine 0: running"
    assert error_packet(ErrorCode.SERVER_TOO_BUSY) == b"%E000FSERVER_TOO_BUSY"
    assert error_packet(ErrorCode.ILLEGAL_PACKET, "why") == b"%E0013ILLEGAL_PACKET: why"


# --- texts in terminals and logs


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("안녕 hello, 世界! naïve", "안녕 hello, 世界! naïve"),
        ("two\nlines\r\n", "two\\nlines\\r\\n"),
        ("\x1b[31mred\x07\x00\x7f\x9b", "\\x1b[31mred\\x07\\x00\\x7f\\x9b"),
        ("\u202egnp\u2028\u200b", "\\u202egnp\\u2028\\u200b"),
    ],
)
def test_control_characters_are_shown_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert loggable(text) == shown


@given(st.text(st.characters(), max_size=300))
def test_any_text_is_one_printable_line_and_a_short_one_in_the_log(text: str) -> None:
    assert printable(text).isprintable()
    assert loggable(text).isprintable()
    assert len(loggable(text)) <= 65


def test_a_long_text_in_the_log_shows_that_it_was_cut() -> None:
    assert loggable("x" * 64) == "x" * 64
    assert loggable("x" * 65) == "x" * 64 + "…"


@pytest.mark.parametrize("begun", [b"%s-", b"%s0x", b"%s01_", b"%s \n", b"x", b"%x"])
def test_what_can_no_longer_become_a_packet_is_an_error_at_once(begun: bytes) -> None:
    parser = PacketParser(CLIENT_HEADERS)
    parser.feed(begun)
    with pytest.raises(ProtocolError):
        parser.next_packet()
