"""The target desktop with real artifacts: llama-server and openvino_genai give the answers of the bundle's canaries."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgehone.bundle.schema import MANIFEST
from edgehone.core.errors import SetupError
from edgehone.package import registry
from edgehone.package.conform import conform
from edgehone.package.write import Order, pack
from tests.finished import list_again
from tests.package.test_desktop import program_file

DESKTOP = registry.load("desktop")
pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("llamacpp", "llama-server generates a canary"),
        pytest.param("openvino", "openvino_genai generates a canary", marks=pytest.mark.long),
    ],
)
def test_the_programs_give_the_canaries_answers(
    bundle_of: Callable[[str], Path], tmp_path: Path, name: str, program: str
) -> None:
    bundle = bundle_of(name)
    packed = pack(bundle, Order(DESKTOP, tmp_path / "out"))
    outcomes = {one.name: (one.outcome, one.reason) for one in packed.checks}
    assert all(outcome == "passed" for outcome, _ in outcomes.values()), outcomes
    assert any(one.startswith(program) for one in outcomes)
    assert "huggingface_hub reads the model card" in outcomes
    # A canary that the artifact does not give stops the package.
    path = bundle / MANIFEST
    data = json.loads(path.read_text())
    data["canaries"][0]["answer"][-1] += 1
    path.write_text(json.dumps(data))
    list_again(bundle)
    with pytest.raises(SetupError, match=f"does not pass {program}.*it gave"):
        pack(bundle, Order(DESKTOP, tmp_path / "two"))
    assert not (tmp_path / "two").exists()


@pytest.mark.long
def test_the_suite_of_targets_passes_with_all_programs(
    bundle_of: Callable[[str], Path], tmp_path: Path
) -> None:
    bundle = bundle_of("llamacpp")
    options = {"llamafile": str(program_file(tmp_path / "llamafile"))}
    outcomes = {one.check: (one.state, one.seen) for one in conform(DESKTOP, bundle, options=options)}
    assert all(state == "pass" for state, _ in outcomes.values()), outcomes
    with zipfile.ZipFile(tmp_path / "llamafile") as archive:
        assert ".args" not in archive.namelist()  # the user's program is not written to
