"""What the processor can do, and who says that it may not."""

from pathlib import Path

import pytest

from recognizer import processor


@pytest.mark.parametrize(
    ("limit", "may"),
    [(None, True), ("ALL", True), ("AVX512_CORE_AMX", True), ("avx512_core_bf16", False), ("AVX2", False), ("", True)],
)
def test_amx_is_used_where_onednn_may(monkeypatch: pytest.MonkeyPatch, limit: str, may: bool) -> None:
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"amx_tile"}))
    if limit is None:
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    else:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert processor.has_amx() is may


def test_a_processor_without_amx_has_none_whatever_onednn_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"avx2"}))
    assert not processor.has_amx()


@pytest.mark.parametrize(
    ("text", "amd"),
    [
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 26\n", True),
        ("processor\t: 0\nvendor_id\t: GenuineIntel\n", False),
        ("processor\t: 0\nBogoMIPS\t: 50.00\n", False),
    ],
)
def test_who_made_it_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, amd: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "_CPUINFO", str(tmp_path / "cpuinfo"))
    assert processor.is_of_amd() is amd


def test_where_nobody_says_who_made_it_it_is_not_amds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processor, "_CPUINFO", str(tmp_path / "cpuinfo"))
    assert not processor.is_of_amd()
