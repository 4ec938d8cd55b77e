"""Checks with real runtimes: a sound build of the demo model passes them, and damage to its files is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import edgehone
from edgehone.certify.subject import Sources, Subject
from edgehone.model.digest import digest_model
from edgehone.model.inspect import inspect
from tests.certify.subjects import check, subject_of, with_manifest, with_model
from tests.finished import list_again

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("engines")]
FILES = ("file_formats", "malformed_files", "network", "dependencies", "sbom", "pickles", "template_sandbox")
SCORED = ("accuracy", "long_context", "typos", "unicode", "repeated_tokens", "odd_prompts", "chat_template")


@pytest.fixture
def subject(bundle_of: Callable[[str], Path], demo_model: Path, tmp_path: Path) -> Callable[[str], Subject]:
    """Return an exact build of the demo model as the checks get it."""

    def make(name: str) -> Subject:
        bundle = bundle_of(name)
        with_model(bundle, digest=digest_model(inspect(demo_model)))
        versions = edgehone.read(bundle).manifest.versions
        found = subject_of(bundle, tmp_path / "work", Sources(model=demo_model))
        with_manifest(bundle, versions={**versions, name: dict(found.env.versions)})
        return subject_of(bundle, tmp_path / "work", Sources(model=demo_model))

    return make


def test_a_real_runtime_refuses_damaged_files(subject: Callable[[str], Subject]) -> None:
    found = check(subject("llamacpp"), "malformed_files")
    assert found.outcome == "passed", found.reason
    assert all(one.startswith("refused: ") for one in found.evidence["outcomes"].values())


@pytest.mark.long
@pytest.mark.parametrize("name", ["llamacpp", "openvino", "olive"])
def test_a_real_runtime_passes(name: str, subject: Callable[[str], Subject]) -> None:
    made = subject(name)
    found = {one: check(made, one) for one in FILES}
    assert {one: each.reason for one, each in found.items() if each.outcome != "passed"} == {}


@pytest.mark.long
@pytest.mark.parametrize("name", ["llamacpp", "openvino", "olive"])
def test_a_sound_build_is_as_robust_as_the_original(name: str, subject: Callable[[str], Subject]) -> None:
    made = subject(name)
    found = {one: check(made, one) for one in SCORED}
    assert {one: each.reason for one, each in found.items() if each.outcome != "passed"} == {}


@pytest.mark.long
def test_a_cut_model_file_is_found(subject: Callable[[str], Subject], tmp_path: Path) -> None:
    bundle = subject("llamacpp").bundle.path
    path = bundle / "artifact" / "model.gguf"
    path.write_bytes(path.read_bytes()[:-4096])
    list_again(bundle)
    found = check(subject_of(bundle, tmp_path / "work"), "file_formats")
    assert found.outcome == "failed" and "model.gguf" in found.reason
