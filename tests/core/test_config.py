"""edgehone.toml: reading, and invalid files."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgehone.core import config
from edgehone.core.errors import InputError


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_no_file_is_no_settings() -> None:
    assert config.read() == {}


def test_the_file_in_the_current_folder_is_read() -> None:
    Path("edgehone.toml").write_text(
        "[gates]\nspeedup = 1.5\n[weights]\nspeed = 2\n[workloads.mine]\ncontext = 9\n"
    )
    assert config.read() == {
        "gates": {"speedup": 1.5},
        "weights": {"speed": 2},
        "workloads": {"mine": {"context": 9}},
    }


def test_a_named_file_is_read_instead() -> None:
    Path("edgehone.toml").write_text("[gates]\nspeedup = 1.5\n")
    Path("other.toml").write_text("")
    assert config.read("other.toml") == {}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"gates = [", "cannot be read"),
        (b"[gates]\nspeedup = \xff\n", "cannot be read"),
        (b"[gate]\nspeedup = 1.5\n", r"unknown table \[gate\]"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(content: bytes, what: str) -> None:
    Path("edgehone.toml").write_bytes(content)
    with pytest.raises(InputError, match=what) as caught:
        config.read()
    assert "edgehone.toml" in caught.value.message and caught.value.hint


def test_a_named_file_must_be_there() -> None:
    with pytest.raises(InputError, match=r"no such file: lost\.toml") as caught:
        config.read("lost.toml")
    assert caught.value.hint
    Path("folder").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        config.read(Path("folder"))
