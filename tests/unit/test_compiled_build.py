"""How compiled code is built, and which of it is chosen; what happens where it cannot be had."""

import logging
import shutil
import subprocess
from pathlib import Path

import pytest

from recognizer import processor
from recognizer.compiled import build as building
from recognizer.compiled import library as libraries
from recognizer.compiled.__main__ import main
from recognizer.compiled.build import SETS, BuildError, build
from recognizer.compiled.library import Library, choose_library, usable_sets
from recognizer.int8 import Int8Linear
from recognizer.recognizer import Recognizer
from recognizer.settings import RecognizerSettings
from tests.harness.instructions import USABLE, needs_instructions


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where nothing has been compiled yet, and what is compiled is ready soon."""
    monkeypatch.setattr(building, "BUILT", tmp_path / "built")
    monkeypatch.setattr(building, "_FLAGS", ("-std=gnu11", "-O0", "-fPIC", "-shared", "-pthread"))
    return tmp_path / "built"


def compiler(folder: Path, does: str) -> str:
    """A program in place of the compiler."""
    path = folder / "compiler"
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return str(path)


@needs_instructions
@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("exit 3", "fails: status 3"),
        ("echo >&2; echo '3 is no number' >&2; exit 1", "fails: 3 is no number"),
        (r"printf '\377\n' >&2; exit 1", "fails: \ufffd"),
        ("sleep 60 & sleep 60", "takes more than 0 s"),
    ],
)
def test_of_a_compiler_that_fails_the_first_line_is_told(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, said: str
) -> None:
    monkeypatch.setenv("CC", compiler(tmp_path, does))
    monkeypatch.setattr(building, "_TIMEOUT_S", 0.3)
    library, reason = choose_library("auto")
    assert library is None
    assert reason.startswith(f"the C compiler {tmp_path}/compiler ")
    assert reason.endswith(said)
    assert not list(built.iterdir())


@needs_instructions
def test_without_a_compiler_torch_computes_and_the_log_says_why(
    built: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O")
    with caplog.at_level(logging.INFO):
        recognizer = Recognizer(RecognizerSettings(device="cpu"), 1)
    expected = "matrices in int8: by torch, because there is no C compiler no-such-compiler "
    assert any(message.startswith(expected) for message in caplog.messages)
    assert not list(built.iterdir())
    assert isinstance(recognizer.parts.network.decoder.vocabulary, Int8Linear)


@needs_instructions
def test_a_folder_that_is_none_is_named(built: Path) -> None:
    built.write_text("a file")
    with pytest.raises(BuildError, match=r"built is of no use .*: run python -m recognizer.compiled"):
        build(USABLE[0])


@needs_instructions
def test_a_setting_that_is_no_command_is_told(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "'")
    with pytest.raises(BuildError, match="No closing quotation"):
        build(USABLE[0])


@needs_instructions
def test_a_torn_library_is_made_anew(built: Path) -> None:
    path = build(USABLE[0])
    whole = path.read_bytes()
    for torn in (whole[: len(whole) // 2], b"", b"garbage"):
        path.unlink()  # what is loaded stays as it is
        path.write_bytes(torn)
        assert Library(USABLE[0]).width
        assert path.read_bytes() == whole


@needs_instructions
def test_what_is_compiled_once_is_used_again_whatever_the_compiler_is_called(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build(USABLE[0])
    monkeypatch.setenv("CC", "no-such-compiler")
    assert build(USABLE[0]) == path
    assert list(built.iterdir()) == [path]


@needs_instructions
def test_another_source_is_compiled_anew_and_the_older_library_goes(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = build(USABLE[0])
    changed = tmp_path / "sources"
    shutil.copytree(building.SOURCES, changed)
    header = changed / "numbers.h"
    header.write_bytes(header.read_bytes() + b"\n")
    monkeypatch.setattr(building, "SOURCES", changed)
    after = build(USABLE[0])
    assert after != before
    assert list(built.iterdir()) == [after]


def test_another_kind_of_machine_has_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(BuildError, match="written for x86-64, and this is aarch64"):
        build("avx2")


@pytest.mark.parametrize(
    ("capability", "limit", "flags", "usable"),
    [
        ("AVX512", "", SETS["amx"][1], ["amx", "avx512_vnni", "avx2"]),
        ("AVX512", "AVX512_CORE_BF16", SETS["amx"][1], ["avx512_vnni", "avx2"]),
        ("AVX512", "AVX512_CORE_AMX", SETS["amx"][1], ["amx", "avx512_vnni", "avx2"]),
        ("AVX512", "", SETS["avx512_vnni"][1], ["avx512_vnni", "avx2"]),
        ("AVX512", "", (*SETS["avx2"][1], "avx512f"), ["avx2"]),
        ("AVX2", "", SETS["amx"][1], ["avx2"]),
        ("DEFAULT", "", SETS["amx"][1], []),
        ("AVX2", "", ("sse4_2",), []),
    ],
)
def test_instructions_within_the_limits_are_taken_best_first(
    monkeypatch: pytest.MonkeyPatch, capability: str, limit: str, flags: "tuple[str, ...]", usable: "list[str]"
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    monkeypatch.setattr(processor, "capability", lambda: capability)
    monkeypatch.setattr(processor, "flags", lambda: frozenset(flags))
    assert usable_sets() == usable


def test_where_linux_refuses_amx_there_are_older_instructions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, refusing = tmp_path / "refusing.c", tmp_path / "refusing.so"
    source.write_text("int ask_for_tiles(void) { return 0; }")
    subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(refusing)], check=True)
    monkeypatch.setattr(libraries, "usable_sets", lambda: ["amx", *USABLE[-1:]])
    monkeypatch.setattr(libraries, "build", lambda name: refusing if name == "amx" else build(name))
    library, reason = choose_library("auto")
    assert reason == "Linux does not let this process have AMX"
    assert (library.name if library else None) == (USABLE[-1] if USABLE else None)


def test_where_nothing_is_usable_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "capability", lambda: "DEFAULT")
    assert choose_library("auto") == (
        None,
        "this processor has none of the instructions that it is written for: torch finds DEFAULT",
    )


@needs_instructions
def test_instructions_that_a_compiler_does_not_know_make_way_for_older_ones(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler of before the best set: it is the reason, and not the end."""
    if len(USABLE) < 2:
        pytest.skip("this processor has the oldest set only")
    flags, needed = SETS[USABLE[0]]
    monkeypatch.setitem(SETS, USABLE[0], ((*flags, "-mno-such-instructions"), needed))
    library, reason = choose_library("auto")
    assert library is not None
    assert library.name == USABLE[1]
    assert "no-such-instructions" in reason


def test_who_switches_it_off_has_torch(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Recognizer(RecognizerSettings(device="cpu", compiled="off"), 1)
    assert "matrices in int8: by torch, because model.compiled is off" in caplog.messages


def test_the_command_says_what_it_made_and_what_it_could_not(
    built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main() == 0
    assert [Path(line.rpartition(": ")[2]).parent for line in capsys.readouterr().out.splitlines()] == [built] * len(
        SETS
    )
    for path in built.iterdir():
        path.unlink()
    monkeypatch.setenv("CC", "no-such-compiler")
    assert main() == 1
    assert capsys.readouterr().err.splitlines() == [
        f"matrices in int8 cannot be compiled for {name}: there is no C compiler no-such-compiler "
        "(No such file or directory; apt install gcc libc6-dev, or another)"
        for name in SETS
    ]
