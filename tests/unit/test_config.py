"""The configuration: what is read, and what is said when it is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from config.reading import ConfigError, load_config
from config.sections import ServerConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def faults(path: Path, content: str | bytes) -> list[str]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).splitlines() == caught.value.faults  # one line each
    return caught.value.faults


def fault(path: Path, content: str | bytes) -> str:
    (line,) = faults(path, content)
    return line


def load(path: Path, content: str | bytes) -> ServerConfig:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_config(path)


# --- what is read


def test_the_shipped_file_holds_every_setting_with_its_default() -> None:
    shipped = ROOT / "config_vad.yaml"
    assert load_config(shipped) == ServerConfig()
    assert yaml.safe_load(shipped.read_text(encoding="utf-8")) == ServerConfig().model_dump()


def test_the_defaults_are_those_of_the_specification() -> None:
    assert ServerConfig().model_dump() == {
        "audio": {"frame_size": 480, "sample_rate": 16000, "frame_duration_ms": 30},
        "network": {
            "ip": "127.0.0.1",
            "port": 5000,
            "socket_timeout": 60,
            "engine_wait": 0,
            "max_connections": 256,
            "stop_delay": 0,
            "drain_timeout": 30,
            "max_per_ip": 0,
            "max_session": 0,
            "max_speed": 0,
            "allow": [],
            "tls_cert": "",
            "tls_key": "",
            "tls_client_ca": "",
        },
        "model": {
            "size": "base",
            "device": "auto",
            "language": "ko",
            "channel": 1,
            "beam_size": 5,
            "hang_timeout": 60,
            "compiled": "auto",
            "compute": "auto",
            "window": "auto",
            "prompt": "",
            "task": "transcribe",
            "context": "auto",
            "share": "auto",
        },
        "vad": {"mode": 1, "silence_threshold": 16, "max_speech_duration": 10},
        "gateway": {
            "servers": ["127.0.0.1:5000"],
            "server_tls": False,
            "server_ca": "",
            "ip": "127.0.0.1",
            "port": 8000,
            "doors": ["realtime", "rest", "deepgram", "vosk", "wyoming", "page"],
            "vosk_port": 2700,
            "wyoming_port": 10300,
            "metrics_port": 0,
            "api_keys": [],
            "cors_origins": [],
            "max_connections": 4096,
            "max_upload_mb": 200,
            "drain_timeout": 30,
            "tls_cert": "",
            "tls_key": "",
        },
        "metrics": {"ip": "127.0.0.1", "port": 0},
        "agent": {"ip": "127.0.0.1", "port": 0},
        "logging": {
            "level": "info",
            "format": "text",
            "log_path": "./log/stt_log",
            "max_mb": 0,
            "save_pcm": False,
            "pcm_path": "./data",
        },
    }


@pytest.mark.parametrize("content", ["", "\n", "# nothing\n", "---\n", "{}", "audio:\n", "vad: {}\nlogging: null\n"])
def test_an_empty_file_or_section_means_the_defaults(path: Path, content: str) -> None:
    assert load(path, content) == ServerConfig()


def test_what_a_file_leaves_out_has_its_default(path: Path) -> None:
    config = load(path, "\ufeffnetwork: {port: 0}\nvad: {max_speech_duration: 2.5}\n")  # as some editors begin a file
    assert (config.network.port, config.network.ip, config.vad.max_speech_duration) == (0, "127.0.0.1", 2.5)


@pytest.mark.parametrize("sample_rate", [8000, 16000, 32000, 48000])
@pytest.mark.parametrize("frame_ms", [10, 20, 30])
def test_every_frame_that_the_voice_activity_detection_takes_is_allowed(
    path: Path, sample_rate: int, frame_ms: int
) -> None:
    size = sample_rate * frame_ms // 1000
    text = f"audio: {{sample_rate: {sample_rate}, frame_duration_ms: {frame_ms}, frame_size: {size}}}"
    assert load(path, text).audio.frame_bytes == 2 * size


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:12"])
def test_devices_are_those_of_torch(path: Path, device: str) -> None:
    assert load(path, f"model: {{device: '{device}'}}").model.device == device


@pytest.mark.parametrize("size", ["tiny", "base", "small", "medium", "large-v2", "large-v3-turbo", "turbo"])
def test_every_name_of_a_model_is_allowed(path: Path, size: str) -> None:
    assert load(path, f"model: {{size: {size}}}").model.size == size


def test_a_path_that_exists_is_a_model(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.pt").touch()
    assert load(path, f"model: {{size: {tmp_path}/own.pt}}").model.size == f"{tmp_path}/own.pt"
    assert load(path, "model: {size: ~/own.pt}").model.size == "~/own.pt"


@pytest.mark.parametrize("language", ["ko", "en", "yue", "auto"])
def test_languages_are_those_of_whisper_or_auto(path: Path, language: str) -> None:
    assert load(path, f"model: {{language: {language}}}").model.language == language


@pytest.mark.parametrize("language", ["en", "auto"])
def test_an_english_model_hears_english(path: Path, language: str) -> None:
    assert load(path, f"model: {{size: base.en, language: {language}}}").model.size == "base.en"


# --- what is said about faults


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("model: {langauge: ko}", "model.langauge: unknown key; did you mean language?"),
        ("audio: {framesize: 480}", "audio.framesize: unknown key; did you mean frame_size?"),
        ("netwrok: {port: 1}", "netwrok: unknown section; did you mean network?"),
        (
            "prot: 1",
            "prot: unknown section; expected one of audio, network, model, vad, gateway, metrics, agent, logging",
        ),
        ("port: 1", "port: unknown section; expected the section network: with port: under it, indented"),
        (
            "model.channel: 4",
            "model.channel: unknown section; expected the section model: with channel: under it, indented",
        ),
        ("vad: {vad.mode: 1}", "vad.vad.mode: unknown key; did you mean mode?"),
        ("vad: {language: ko}", "vad.language: unknown key; expected under model:"),
        (
            "vad: {xyz: 1}",
            "vad.xyz: unknown key; expected one of mode, silence_threshold, max_speech_duration",
        ),
    ],
)
def test_an_unknown_name_is_answered_with_the_near_one_or_all(path: Path, content: str, line: str) -> None:
    assert fault(path, content) == line


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("network: {port: '5000'}", "network.port: got '5000'; expected a whole number, without quotes"),
        ("network: {port: 5000.0}", "network.port: got 5000.0; expected a whole number"),
        ("network: {port: true}", "network.port: got true; expected a whole number"),
        ("network: {port: null}", "network.port: got nothing; expected a whole number"),
        ("network: {port: [5000]}", "network.port: got [5000]; expected a whole number"),
        ("network: {socket_timeout: true}", "network.socket_timeout: got true; expected a number"),
        ("network: {socket_timeout: .nan}", "network.socket_timeout: got nan; expected a finite number"),
        ("network: {drain_timeout: .inf}", "network.drain_timeout: got inf; expected a finite number"),
        ("network: {ip: 127}", "network.ip: got 127; expected text in quotes"),
        (
            "model: {language: no}",  # YAML's Norway
            "model.language: got false; expected text in quotes (without, yes, no, on and off are true and false)",
        ),
        ("model: {language: [ko]}", "model.language: got ['ko']; expected text"),
        ("model: {language: }", "model.language: got nothing; expected text in quotes"),
        ("model: {channel: four}", "model.channel: got 'four'; expected a whole number"),
        ("network: {drain_timeout: '2.5'}", "network.drain_timeout: got '2.5'; expected a number, without quotes"),
        ("logging: {save_pcm: 1}", "logging.save_pcm: got 1; expected true or false"),
        ("logging: {save_pcm: 'yes'}", "logging.save_pcm: got 'yes'; expected true or false"),
        ("logging: {save_pcm: 'true'}", "logging.save_pcm: got 'true'; expected true or false, without quotes"),
        ("audio: {frame_size: 480.0}", "audio.frame_size: got 480.0; expected a whole number"),
    ],
)
def test_a_value_of_another_type_is_a_fault(path: Path, content: str, line: str) -> None:
    assert fault(path, content) == line


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("vad: {mode: 4}", "vad.mode"),
        ("vad: {mode: -1}", "vad.mode"),
        ("vad: {mode: '1'}", "vad.mode"),
        ("vad: {mode: true}", "vad.mode"),
        ("vad: {mode: 1.0}", "vad.mode"),
        ("audio: {sample_rate: 16000.0}", "audio.sample_rate"),
        ("audio: {sample_rate: '16000'}", "audio.sample_rate"),
        ("audio: {frame_duration_ms: 30.0}", "audio.frame_duration_ms"),
    ],
)
def test_a_choice_of_numbers_is_met_by_those_numbers_alone(path: Path, content: str, key: str) -> None:
    assert fault(path, content).startswith(f"{key}: got ")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("network: {port: 65536}", "network.port: got 65536; expected less than or equal to 65535"),
        ("network: {port: -1}", "network.port: got -1; expected greater than or equal to 0"),
        ("network: {socket_timeout: 0}", "network.socket_timeout: got 0; expected greater than 0"),
        ("network: {engine_wait: -0.5}", "network.engine_wait: got -0.5; expected greater than or equal to 0"),
        ("network: {max_connections: 0}", "network.max_connections: got 0; expected greater than or equal to 1"),
        ("network: {drain_timeout: -1}", "network.drain_timeout: got -1; expected greater than or equal to 0"),
        ("network: {max_per_ip: -1}", "network.max_per_ip: got -1; expected greater than or equal to 0"),
        ("network: {max_session: -1}", "network.max_session: got -1; expected greater than or equal to 0"),
        (
            "network: {max_speed: 0.5}",
            "network.max_speed: got 0.5; expected 0 (no limit) or at least 1: a microphone must keep up",
        ),
        (
            "network: {allow: [10.0.0.1/8]}",
            "network.allow: got ['10.0.0.1/8']; 10.0.0.1/8 has host bits set; "
            "expected addresses and ranges such as 10.0.0.0/8 or fd00::/8",
        ),
        (
            "network: {allow: ['::ffff:10.0.0.0/104']}",
            "network.allow: got ['::ffff:10.0.0.0/104']; ::ffff:10.0.0.0/104 would match nobody; "
            "expected addresses and ranges such as 10.0.0.0/8 or fd00::/8, IPv4 as such, and no zone",
        ),
        ("network: {allow: 10.0.0.0/8}", "network.allow: got '10.0.0.0/8'; expected a list, such as [a, b]"),
        (
            "gateway: {servers: ['localhost']}",
            "gateway.servers: got ['localhost']; localhost is no address; "
            "expected HOST:PORT, such as 127.0.0.1:5000 or [::1]:5000",
        ),
        (
            "gateway: {api_keys: ['a b']}",
            "gateway.api_keys: got ['a b']; expected keys of printable ASCII characters without blanks",
        ),
        ("network: {tls_cert: /nowhere}", "network.tls_cert: got '/nowhere'; expected a file that exists"),
        (
            "network: {tls_client_ca: /proc/version}",
            "network.tls_client_ca: got '/proc/version'; expected network.tls_cert beside it",
        ),
        ("model: {channel: 0}", "model.channel: got 0; expected greater than or equal to 1"),
        ("model: {beam_size: 0}", "model.beam_size: got 0; expected greater than or equal to 1"),
        ("model: {hang_timeout: 0}", "model.hang_timeout: got 0; expected greater than 0"),
        ("vad: {silence_threshold: 0}", "vad.silence_threshold: got 0; expected greater than or equal to 1"),
        ("vad: {max_speech_duration: 0.5}", "vad.max_speech_duration: got 0.5; expected greater than or equal to 1"),
        ("vad: {max_speech_duration: 31}", "vad.max_speech_duration: got 31; expected less than or equal to 30"),
        ("audio: {sample_rate: 44100}", "audio.sample_rate: got 44100; expected 8000, 16000, 32000 or 48000"),
        ("audio: {frame_duration_ms: 25}", "audio.frame_duration_ms: got 25; expected 10, 20 or 30"),
        (
            "logging: {level: INFO}",
            "logging.level: got 'INFO'; expected 'debug', 'info', 'warning', 'error' or 'critical'",
        ),
    ],
)
def test_a_value_out_of_range_is_a_fault(path: Path, content: str, line: str) -> None:
    assert fault(path, content) == line


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("{frame_size: 960}", "audio.frame_size: got 960; expected 480 samples (30 ms at 16000 Hz)"),  # bytes
        ("{sample_rate: 8000}", "audio.frame_size: got 480; expected 240 samples (30 ms at 8000 Hz)"),
        ("{frame_duration_ms: 10}", "audio.frame_size: got 480; expected 160 samples (10 ms at 16000 Hz)"),
    ],
)
def test_a_frame_size_that_is_not_the_product_is_a_fault(path: Path, content: str, line: str) -> None:
    assert fault(path, f"audio: {content}") == line


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("{size: bas}", "size"),
        ("{size: /no/such/file.pt}", "size"),
        ("{size: ''}", "size"),
        ("{device: gpu}", "device"),
        ("{device: 'cuda:'}", "device"),
        ("{device: cuda:-1}", "device"),
        ("{language: korean}", "language"),
        ("{language: KO}", "language"),
        ("{language: ''}", "language"),
        ("{prompt: " + 3000 * "a" + "}", "prompt"),
        ("{size: base.en}", "language"),
        ("{size: base.en, language: ko}", "language"),
    ],
)
def test_a_model_that_cannot_be_is_a_fault(path: Path, content: str, key: str) -> None:
    line = fault(path, f"model: {content}")
    assert line.startswith(f"model.{key}: got ")
    assert "; expected " in line


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("audio: 480", "audio: got 480; expected a section with keys"),
        ("audio: [480]", "audio: got [480]; expected a section with keys"),
        (
            "model:\n  channel:4",
            "model: got 'channel:4'; expected a section with keys, each as key: value with a blank behind the colon",
        ),
        (
            "hello",
            "the file: got 'hello'; expected a section with keys, each as key: value with a blank behind the colon",
        ),
        ("[audio]", "the file: got ['audio']; expected a section with keys"),
    ],
)
def test_what_is_no_section_is_a_fault(path: Path, content: str, line: str) -> None:
    assert fault(path, content) == line


def test_all_faults_are_told_at_once(path: Path) -> None:
    lines = faults(
        path,
        """
        audio: {sample_rate: 44100, frame_size: 1}
        network: {port: 70000, ip: 1, sockettimeout: 3}
        model: {size: huge, device: tpu, language: xx, channel: none}
        vad: 5
        logs: {}
        """,
    )
    assert [line.split(":")[0] for line in lines] == [
        "audio.sample_rate",
        "network.ip",
        "network.port",
        "network.sockettimeout",
        "model.size",
        "model.device",
        "model.language",
        "model.channel",
        "vad",
        "logs",
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("vad: {}\nvad: {}\n", "line 2, column 1: vad stands twice; expected it once"),
        ("vad: {mode: 1, mode: 1}\n", "line 1, column 16: mode stands twice; expected it once"),
        ("vad:\n  mode: 1\n  'mode': 2\n", "line 3, column 3: mode stands twice; expected it once"),
    ],
)
def test_a_key_that_stands_twice_is_a_fault(path: Path, content: str, text: str) -> None:
    assert fault(path, content) == f"{path}: {text}"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("vad:\n  a: b: c", "line 2, column 7: mapping values are not allowed here"),
        ("audio: [", "line 1, column 9: expected the node content, but found '<stream end>'"),
        ("vad:\n\tmode: 1", "line 2, column 1: found character '\\t' that cannot start any token"),
        ("vad: {}\n---\nvad: {}", "line 2, column 1: but found another document"),
        ("vad: *nothing", "line 1, column 6: found undefined alias 'nothing'"),
        ("vad:\n  mode: \x01", "line 2, column 9: character #x01 is not allowed"),
        ("%", "line 1, column 2: expected alphabetic or numeric character, but found '\\x00'"),
        ("'", "line 1, column 2: found unexpected end of stream"),
    ],
)
def test_a_file_that_is_not_yaml_is_told_where(path: Path, content: str, text: str) -> None:
    assert fault(path, content) == f"{path}: {text}; expected YAML, with blanks behind colons and for indentation"


@pytest.mark.parametrize("content", ["!!python/object/apply:os.getcwd []", "vad: !unknown {}"])
def test_tags_are_refused(path: Path, content: str) -> None:
    assert "could not determine a constructor for the tag" in fault(path, content)


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"\xff\xfe\x00", 1), ("# \ub0b4 \uc124\uc815\n".encode("cp949"), 1), (b"vad: {}\n\n# \xb3", 3)],
)
def test_a_file_in_another_encoding_is_told_where(path: Path, content: bytes, line: int) -> None:
    told = fault(path, content)
    assert told.startswith(f"{path}: line {line}: byte 0x")
    assert told.endswith(" is not UTF-8; save the file as UTF-8")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            "logging:\n  log_path: 2024-13-45",
            "line 2, column 13: '2024-13-45' is no timestamp; expected text in quotes",
        ),
        ("network: {port: !!int five}", "line 1, column 17: 'five' is no int; expected text in quotes"),
    ],
)
def test_a_value_that_cannot_be_is_told_where(path: Path, content: str, text: str) -> None:
    assert fault(path, content).startswith(f"{path}: {text}")


def test_sections_in_sections_without_end_are_a_fault(path: Path) -> None:
    assert fault(path, "audio: " + 5000 * "[") == f"{path}: it is nested too deep; expected sections with keys"


@pytest.mark.parametrize(
    "content",
    [
        "network: {port: {{ port }}}",  # a template that nobody filled in
        "? [a]\n: 1",
        "network: {port: " + 5000 * "9" + "}",
    ],
    ids=lambda content: content[:30],
)
def test_odd_yaml_is_a_fault_too(path: Path, content: str) -> None:
    assert "<unicode string>" not in fault(path, content)


@pytest.mark.parametrize("content", ['"a\\nb": 1', 'vad: {"a\\e[31mb": 1}'])
def test_a_key_cannot_break_its_line(path: Path, content: str) -> None:
    assert fault(path, content).isprintable()


@pytest.mark.parametrize("content", ["1: 2", "~: 1", "vad: {1: 2}"])
def test_a_key_that_is_no_text_is_a_fault(path: Path, content: str) -> None:
    assert fault(path, content).endswith(" for a key; expected text")


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.faults == [f"{path}: No such file or directory; expected a configuration file, see --config"]


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path)


def test_a_configuration_does_not_change_after_loading() -> None:
    with pytest.raises(ValueError, match="frozen"):
        ServerConfig().network.port = 1  # type: ignore[misc]


# --- the command


def run_server(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tcp_server.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_the_server_prints_the_faults_and_nothing_else_and_exits_with_2(path: Path, tmp_path: Path) -> None:
    path.write_text("network: {port: '5000'}\nmodel: {langauge: en}\nvad: {silence_threshold: 0}\n")
    result = run_server(tmp_path, "--config", "config.yaml")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "network.port: got '5000'; expected a whole number, without quotes",
        "model.langauge: unknown key; did you mean language?",
        "vad.silence_threshold: got 0; expected greater than or equal to 1",
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_the_server_names_a_missing_file_and_exits_with_2(tmp_path: Path) -> None:
    result = run_server(tmp_path, "--config", "nowhere.yaml")
    assert result.returncode == 2
    assert result.stderr == "nowhere.yaml: No such file or directory; expected a configuration file, see --config\n"


def test_an_address_that_cannot_be_is_named_in_one_line(path: Path, tmp_path: Path) -> None:
    path.write_text("network: {ip: 127..0.1}")
    result = run_server(tmp_path, "--config", "config.yaml")
    assert result.returncode != 0
    (line,) = result.stderr.splitlines()
    assert "network" in line
    assert "127..0.1" in line
