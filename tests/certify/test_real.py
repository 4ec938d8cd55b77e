"""Checks with real runtimes: a sound build of the demo model passes them, and damage to its files is found."""

from __future__ import annotations

import os
import random
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import edgehone
from edgehone.certify.subject import Sources, Subject
from edgehone.inputs.texts import shipped
from edgehone.model.digest import digest_file, digest_model
from edgehone.model.inspect import inspect
from tests.certify.subjects import check, subject_of, with_manifest, with_model
from tests.finished import list_again
from tests.rates import know_rates
from tests.tiny import TINY

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


@pytest.mark.long
def test_canaries_in_the_text_of_a_real_calibration(
    demo_model: Path, real_home: Path, tmp_path: Path
) -> None:
    """llama.cpp's importance matrix and GPTQ read them; nothing of them stays, and a copy of one is found."""
    draw = random.Random(7)
    canaries = ["".join(draw.choices(string.ascii_letters + string.digits, k=32)) for _ in range(3)]
    text = shipped("calibration").read_text("utf-8")
    data, named = tmp_path / "calibration.txt", tmp_path / "canaries.txt"
    step = len(text) // 40  # many times, as what is copied from a customer's records would be
    pieces = [text[at : at + step] for at in range(0, len(text), step)]
    data.write_text("\n".join(f"{canaries[n % 3]}\n{piece}" for n, piece in enumerate(pieces)), "utf-8")
    named.write_text("\n".join(canaries), "utf-8")
    own = know_rates(tmp_path / "home")
    for part in ("envs", "toolchains"):
        (own / part).symlink_to(real_home / part)
    only = "\n[weights]\nquality = 1.0\nspeed = 0.0\nmemory = 0.0\nsize = 0.0\n"
    (tmp_path / "edgehone.toml").write_text(TINY + only)
    words = ["optimize", str(demo_model), "--effort", "quick", "--backends", "llamacpp", "--workload", "tiny"]
    words += ["--calibrate", str(data), "--when-busy", "measure", "--out", "bundle"]
    words += ["--subject-to", "bytes<=3MB"]  # F16 and 8 bits, which need no calibration, are larger
    for gate in ("speedup", "memory_cut", "accuracy_kept"):
        words += ["--gate", f"{gate}=off"]
    done = subprocess.run(
        [sys.executable, "-m", "edgehone.cli.main", *words],
        cwd=tmp_path,
        env={**os.environ, "EDGEHONE_HOME": str(own)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 3, 4), done.stderr
    bundle = tmp_path / "bundle"
    read = edgehone.read(bundle)
    assert read.manifest.texts["calibration"] == digest_file(data)
    assert any(word in str(read.manifest.recipe["name"]) for word in ("imatrix", "gptq")), (
        read.manifest.recipe
    )
    sources = Sources(calibration=data, canaries=named, model=demo_model)
    clean = check(subject_of(bundle, tmp_path / "work", sources), "calibration_data")
    assert clean.outcome == "passed" and "none of 3 planted canaries" in clean.reason, clean.reason
    with (bundle / "artifact" / "model.gguf").open("ab") as file:
        file.write(canaries[1].encode())
    list_again(bundle)
    leaky = check(subject_of(bundle, tmp_path / "work-2", sources), "calibration_data")
    assert leaky.outcome == "failed" and "model.gguf contains" in leaky.reason, leaky.reason
