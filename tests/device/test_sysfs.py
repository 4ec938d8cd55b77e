from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edgehone.device.sysfs import by_number, identifier, integer, number, text


def test_values(tmp_path: Path) -> None:
    for said, whole, hexadecimal in (
        ("42\n", 42, 0x42),
        ("-7", -7, None),
        ("0x8086\n", None, 0x8086),
        ("", None, None),
    ):
        (tmp_path / "value").write_text(said)
        assert (integer(tmp_path / "value"), identifier(tmp_path / "value")) == (whole, hexadecimal)
    assert text(tmp_path) is None and integer(tmp_path / "gone") is None


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "value").write_bytes(b"\xff\xfe\0Board\0")
    assert (text(tmp_path / "value") or "").endswith("Board")


@given(st.text())
def test_any_text_is_a_number_or_none(said: str) -> None:
    found = number(said)
    assert found is None or str(found).lstrip("-") in said


def test_order() -> None:
    names = ["cpu10", "cpu9", "cpufreq"]
    assert [path.name for path in sorted(map(Path, names), key=by_number)] == ["cpufreq", "cpu9", "cpu10"]
