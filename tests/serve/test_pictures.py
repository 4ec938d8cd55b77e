"""Vision-language models served by each backend; tests/optimize/test_multimodal.py serves the one that it chooses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import edgehone
from tests.serve.pictures import GATES, TOML, answers_are_those_of_run


@pytest.fixture
def bundle_of(
    make_example: Callable[..., Path], real_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Return a bundle with a tiny vision-language model, built by a backend."""
    monkeypatch.setenv("EDGEHONE_HOME", str(real_home))
    (tmp_path / "tiny.toml").write_text(TOML)

    def make(name: str) -> Path:
        model = make_example("make_tiny_multimodal.py", "tiny-llava", "--vision", "siglip")
        edgehone.optimize(
            model, workload="tiny", effort="quick", backends=[name], gates=GATES, out=tmp_path / "bundle",
            config_file=tmp_path / "tiny.toml",
        )  # fmt: skip
        return tmp_path / "bundle"

    return make


@pytest.mark.real
@pytest.mark.long
@pytest.mark.xdist_group("measures")
@pytest.mark.parametrize("name", ["llamacpp", "openvino"])
def test_answers_about_pictures_are_those_of_run(
    name: str, bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    answers_are_those_of_run(bundle_of(name), tmp_path)
