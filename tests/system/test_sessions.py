"""A client that behaves gets what was said; one real server, real speech."""

import re
import threading
import time
from typing import List

import jiwer
import numpy as np
import pytest
import soxr

from demo.recording import TRANSCRIPT
from protocol.packets import MAGIC, Header, Packet
from tcp_client import ServerError, StreamingClient
from tests.harness.server import ServerProcess, Settings
from tests.harness.wire import BEGIN, END, FINISH, STATUS, Wire, audio_packets, results, session_bytes, user_packet
from util import parse_result

RESULT_FORM = re.compile(r"\d+\.\d \d+\.\d : \S.*")


def words(text: str) -> str:
    return re.sub(r"[^\w ]", "", text.lower())


def recognised(packets: List[Packet]) -> str:
    return " ".join(parse_result(packet.data).text for packet in packets if packet.header is Header.RESULT)


def test_speech_comes_back_as_text_with_its_times(server: ServerProcess, speech: bytes) -> None:
    with Wire(server.port) as wire:
        wire.send(session_bytes(speech))
        packets = wire.read_all()
    assert packets[0].header is Header.WELCOME
    assert packets[-1] == END
    found = results(packets)
    assert all(RESULT_FORM.fullmatch(line) for line in found)
    assert jiwer.wer(words(TRANSCRIPT), words(recognised(packets))) <= 0.1
    first, second = (parse_result(packet.data) for packet in packets if packet.header is Header.RESULT)
    assert first.start_s < 0.5
    assert 5.0 < first.end_s < 6.3 < second.start_s < 7.0
    assert 9.0 < second.end_s <= 10.0


def test_results_arrive_while_the_client_still_sends(server: ServerProcess, speech: bytes) -> None:
    with StreamingClient("127.0.0.1", server.port) as client:
        client.send(speech)  # the first utterance ends well before this does
        found = client.results()
        first = next(found)
        client.finish()
        assert "tried" in first.text.lower()
        assert "better" in " ".join(result.text.lower() for result in found)


@pytest.mark.parametrize("packet_bytes", [1, 333, 65535])
def test_the_same_bytes_give_the_same_results_whatever_the_packets(
    server: ServerProcess, phrase: bytes, packet_bytes: int
) -> None:
    found = []
    for size in (960, packet_bytes):
        with Wire(server.port) as wire:
            wire.send(MAGIC + user_packet() + BEGIN + audio_packets(phrase, size) + FINISH)
            found.append(results(wire.read_all()))
    assert found[0] == found[1] != []


def test_a_session_without_speech_ends_with_nothing_but_its_end(server: ServerProcess) -> None:
    with Wire(server.port) as wire:
        wire.send(session_bytes(bytes(64000)))
        assert [packet.header for packet in wire.read_all()] == [Header.WELCOME, Header.END]


def test_a_session_without_audio_ends_with_nothing_but_its_end(server: ServerProcess) -> None:
    with Wire(server.port) as wire:
        wire.send(session_bytes(b""))
        assert [packet.header for packet in wire.read_all()] == [Header.WELCOME, Header.END]


def test_speech_that_is_cut_off_by_the_end_is_recognised(server: ServerProcess, speech: bytes) -> None:
    with Wire(server.port) as wire:
        wire.send(session_bytes(speech[: int(4.5 * 32000)]))
        assert "failed" in recognised(wire.read_all()).lower()


def test_status_needs_no_engine(server: ServerProcess) -> None:
    with Wire(server.port) as wire:
        wire.send(MAGIC + STATUS)
        assert wire.read_all() == [Packet(Header.ENGINE_STATUS, b"engine 0: sleeping"), END]


def test_status_works_while_all_engines_are_busy(server: ServerProcess) -> None:
    with Wire(server.port) as busy, Wire(server.port) as wire:
        busy.start()
        wire.send(MAGIC + STATUS)
        assert wire.read_all() == [Packet(Header.ENGINE_STATUS, b"engine 0: running"), END]


def test_status_during_a_session_lets_it_go_on(server: ServerProcess, phrase: bytes) -> None:
    with Wire(server.port) as wire:
        wire.start()
        wire.send(STATUS + audio_packets(phrase) + STATUS + FINISH + STATUS)
        packets = wire.read_all()
    statuses = [packet for packet in packets if packet.header is Header.ENGINE_STATUS]
    assert statuses == 3 * [Packet(Header.ENGINE_STATUS, b"engine 0: running")]
    assert "better" in recognised(packets).lower()
    assert packets[-1] == END


def test_a_second_client_is_told_that_the_server_is_busy_and_a_third_served_after_the_first(
    server: ServerProcess, phrase: bytes
) -> None:
    with StreamingClient("127.0.0.1", server.port) as first:
        with pytest.raises(ServerError) as caught:
            StreamingClient("127.0.0.1", server.port).connect()
        assert caught.value.code == "SERVER_TOO_BUSY"
        first.send(phrase)
        first.finish()
        assert "better" in " ".join(result.text.lower() for result in first.results())
        with StreamingClient("127.0.0.1", server.port) as third:
            third.finish()
            assert list(third.results()) == []


def test_audio_may_be_sent_by_one_thread_while_another_reads(server: ServerProcess, speech: bytes) -> None:
    with StreamingClient("127.0.0.1", server.port) as client:

        def send() -> None:
            for offset in range(0, len(speech), 960):
                client.send(speech[offset : offset + 960])
            client.finish()

        sender = threading.Thread(target=send)
        sender.start()
        found = list(client.results())
        sender.join()
    assert len(found) == 2
    assert found == sorted(found)


def test_a_session_leaves_one_line_at_its_start_and_one_at_its_end(server: ServerProcess, phrase: bytes) -> None:
    with Wire(server.port) as wire:
        wire.send(session_bytes(phrase, user="kiosk\n7 ERROR 안녕"))
        wire.read_all()
    server.wait_for_line(r"starts: engine 0, user kiosk\\n7 ERROR 안녕$")
    ended = server.wait_for_line(
        r"ends: engine 0, user kiosk\\n7 ERROR 안녕, waited 0\.\d s, (\d+\.\d) s of audio, 1 segments "
        r"\(0 suppressed\), 0 partials, latency \d+\.\d\d s \(worst \d+\.\d\d s\), "
        r"real-time factor \d+\.\d\d: completed$"
    )
    assert float(ended.group(1)) == pytest.approx(len(phrase) / 32000, abs=0.06)
    assert not any("better" in line.lower() for line in server.lines)  # what people say is for debug only


@pytest.mark.parametrize("rate", [8000, 48000])
def test_other_sample_rates_are_recognised(speech: bytes, rate: int) -> None:
    samples = soxr.resample(np.frombuffer(speech, dtype="<i2"), 16000, rate)
    settings: Settings = {
        "audio": {"sample_rate": rate, "frame_size": rate * 30 // 1000},
        "model": {"language": "en"},
    }
    with ServerProcess(settings) as other, Wire(other.port) as wire:
        wire.send(session_bytes(samples.astype("<i2").tobytes()))
        packets = wire.read_all()
    assert jiwer.wer(words(TRANSCRIPT), words(recognised(packets))) <= 0.2
    times = [parse_result(packet.data) for packet in packets if packet.header is Header.RESULT]
    assert times[0].start_s < 0.5
    assert 9.0 < times[-1].end_s <= 10.0


def test_recordings_hold_exactly_what_was_sent(phrase: bytes) -> None:
    settings: Settings = {"logging": {"save_pcm": True, "pcm_path": "./kept"}, "model": {"language": "en"}}
    odd = phrase + b"\x01"
    with ServerProcess(settings) as other:
        for _ in range(2):
            with Wire(other.port) as wire:
                wire.send(session_bytes(odd, user="../../etc/콜봇"))
                wire.read_all()
        files = sorted((other.folder / "kept").iterdir())
        assert len(files) == 2
        assert all(re.fullmatch(r"\d{8}_______etc_콜봇_\d{6}(-\d+)?\.pcm", file.name) for file in files)
        assert [file.read_bytes() for file in files] == [odd, odd]
        assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
        assert other.stop() == 0


def test_a_client_that_says_nothing_and_leaves_frees_its_engine_at_once(server: ServerProcess) -> None:
    for _ in range(5):
        with Wire(server.port) as wire:
            wire.start()
            for _ in range(12):
                wire.send(audio_packets(bytes(960)))
                time.sleep(0.03)  # as fast as a microphone
        with Wire(server.port) as wire:
            wire.send(session_bytes(bytes(960)))
            assert wire.read_all()[0].header is Header.WELCOME
