"""The six stages with edgehone's own verbs on the null backend: what is skipped, a new version, six sabotages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from edgehone.pipeline.record import Record
from tests.pipeline.nullpipeline import STAGES, Place, outcomes

pytestmark = pytest.mark.whole
RUN = ("run", "whole.yaml", "--out", "run", "--json")


def test_what_is_unchanged_is_skipped_in_a_copy_too(done: Place) -> None:
    assert outcomes(done.run(*RUN)) == dict.fromkeys(STAGES, "unchanged")
    root = ET.parse(done.path / "run" / "results.xml").getroot()
    assert [one.get("name") for one in root] == list(STAGES)
    assert not root.findall(".//failure")
    names = {one.get("name") for one in root.iter("testcase")}
    assert {
        "security_scan.pickles",
        "parity.null",
        "performance_baseline",
        "cross_validation.null",
        "performance_comparison",
        "unit_tests.accuracy",
        "integration_tests.start",
        "load_tests.overload",
        "security_tests.permissions",
        "registry.staging",
        "load",
        "blue_green",
        "registry.production",
        "rules",
        "real_time",
    } <= names
    assert "| monitoring | passed before, unchanged |" in (done.path / "run" / "results.md").read_text()
    assert (done.path / "run" / "index.html").is_file()


def test_status_tells_each_stage_and_the_events(done: Place) -> None:
    told = done.run("status", "whole.yaml", "--out", "run")
    assert told.returncode == 0 and all(f"{name:<22} passed" in told.stdout for name in STAGES)
    events = json.loads(done.run("status", "whole.yaml", "--out", "run", "--json").stdout)["events"]
    assert [one["stage"] for one in events if one["happened"] == "passed"] == list(STAGES)


def test_a_new_version_is_switched_to_and_back_before_the_alias_moves(done: Place) -> None:
    changed = ["--set", "optimization.gates=[speedup=off, memory_cut=off, latency_cv=off]"]
    found = done.run(*RUN, *changed)
    assert found.returncode == 0, found.stderr[-3000:]
    assert outcomes(found)["model_validation"] == "unchanged"
    checks = {one["name"]: one for one in _stage(found.stdout, "production_deployment")["checks"]}
    assert checks["blue_green"]["outcome"] == "passed" and "meanwhile" in checks["blue_green"]["said"]
    assert checks["rollback"]["outcome"] == "passed" and "version 1 again" in checks["rollback"]["said"]
    assert done.registry("show", "null-model:production")["number"] == 2


def _stage(text: str, name: str) -> Any:
    return next(one for one in json.loads(text)["stages"] if one["stage"] == name)


def _pickle(place: Place) -> list[str]:
    (place.path / "null-model" / "weights.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    return ["--again", "model_validation"]


def _slow(place: Place) -> list[str]:
    return ["--set", "optimization.gates=[speedup=1000]"]


def _writable(place: Place) -> list[str]:
    next(one for one in (place.path / "run" / "bundle" / "artifact").iterdir() if one.is_file()).chmod(0o666)
    return ["--again", "testing"]


def _registry(place: Place) -> list[str]:
    (place.path / "file").write_text("no registry")
    return ["--set", "registry.where=file"]


def _server(place: Place) -> list[str]:
    (place.path / "operators").touch(mode=0o600)
    (place.path / "operators").write_text("0123456789abcdef0123456789abcdef\n")
    return ["--set", "deployment.server=http://127.0.0.1:9", "--set", "deployment.admin_key_file=operators"]


def _rules(place: Place) -> list[str]:
    rules = place.path / "run" / "monitoring" / "prometheus" / "rules.yml"
    rules.write_text(rules.read_text() + "# mine\n")
    return []


@pytest.mark.parametrize(
    ("sabotage", "stage", "said"),
    [
        (_pickle, "model_validation", "picklescan finds what executes code"),
        (_slow, "optimization", "no candidate passes every gate"),
        (_writable, "testing", "cannot be certified"),
        (_registry, "staging_deployment", "is a file"),
        (_server, "production_deployment", "does not answer"),
        (_rules, "monitoring", "was changed since it was generated"),
    ],
)
def test_a_sabotage_stops_at_its_stage(
    done: Place, sabotage: Callable[[Place], list[str]], stage: str, said: str
) -> None:
    before = done.registry("show", "null-model:production")["number"]
    found = done.run(*RUN, *sabotage(done))
    assert found.returncode == 1, found.stderr[-3000:]
    at = STAGES.index(stage)
    expected = ["unchanged"] * at + ["failed"] + ["blocked"] * (len(STAGES) - at - 1)
    assert outcomes(found) == dict(zip(STAGES, expected, strict=True))
    assert said in _stage(found.stdout, stage)["said"]
    assert done.registry("show", "null-model:production")["number"] == before
    assert f"failed in {stage}" in (done.path / "run" / "results.md").read_text()


def test_a_changed_bundle_is_made_again(done: Place) -> None:
    artifact = next(
        one for one in (done.path / "run" / "bundle" / "artifact").iterdir() if one.suffix == ".npz"
    )
    artifact.write_bytes(artifact.read_bytes()[:-1] + b"x")
    found = done.run(*RUN, "--stage", "optimization")
    assert outcomes(found) == {"model_validation": "unchanged", "optimization": "passed"}
    assert "runs again" in found.stderr


def test_an_approval_is_given_on_the_command_line(done: Place) -> None:
    manual = ["--set", "deployment.approval=manual", "--set", "deployment.seconds=0.2"]
    found = done.run(*RUN, *manual)
    assert found.returncode == 5 and outcomes(found)["production_deployment"] == "waiting"
    refused = done.run("approve", "whole.yaml", "testing", "--by", "A. Person", "--out", "run")
    assert refused.returncode == 2 and "testing does not wait" in refused.stderr
    words = ("approve", "whole.yaml", "production_deployment", "--by", "A. Person", "--out", "run")
    assert done.run(*words).returncode == 0
    found = done.run(*RUN, *manual)
    assert found.returncode == 0, found.stderr[-2000:]
    assert (
        Record(done.path / "run")
        .results()["production_deployment"]
        .notes[0]
        .startswith("approved by A. Person")
    )


def test_packages_are_made_of_the_blocks_of_the_file(done: Place, tmp_path: Path) -> None:
    text = (
        done.path / "whole.yaml"
    ).read_text() + "mobile_deployment:\n  android:\n    framework: llama_cpp\n"
    (done.path / "whole.yaml").write_text(text)
    found = done.run(*RUN)
    assert found.returncode == 1
    assert outcomes(found) == dict.fromkeys(STAGES, "unchanged") | {"packaging": "failed"}
    assert "llama_cpp" in _stage(found.stdout, "packaging")["said"]
