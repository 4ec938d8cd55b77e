"""Pipeline files: the mission's as they stand, and what is refused, with the nearest known word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgehone.core.errors import EdgehoneError, InputError
from edgehone.pipeline.document import Document
from edgehone.pipeline.plan import Asked, check_inputs, planned, work_of
from edgehone.pipeline.read import read_document, stages_of
from edgehone.pipeline.schema import schema
from tests.pipeline.nullpipeline import FILES, STAGES

MISSION = FILES / "edge_ai_pipeline.yaml"
SCHEMA = schema()


def write(folder: Path, content: Any) -> Path:
    path = folder / "pipeline.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), "utf-8")
    return path


def of(**section: Any) -> dict[str, Any]:
    return {"edge_ai_pipeline": {"stages": ["optimization"], **section}}


def test_the_missions_pipeline_is_read_as_it_stands() -> None:
    document = read_document(MISSION)
    pipeline = document.edge_ai_pipeline
    assert stages_of(document) == STAGES
    assert pipeline.model_validation.accuracy_threshold == 0.95
    assert pipeline.model_validation.performance_baseline == "required"
    assert pipeline.optimization.frameworks == ("llama_cpp", "openvino", "microsoft_olive")
    assert (pipeline.deployment.strategy, pipeline.deployment.traffic_ramping) == ("blue_green", "gradual")
    assert pipeline.deployment.monitoring == "real_time"
    assert [one.needs for one in planned(document)] == [None, *STAGES[:-1]]


@pytest.mark.parametrize("name", ["mobile_deployment", "edge_server"])
def test_a_file_of_packages_only_is_a_pipeline_of_one_stage(name: str) -> None:
    document = read_document(FILES / f"{name}.yaml")
    assert stages_of(document) == ("packaging",) and list(document.deployments) == [name]


def test_packages_beside_a_pipeline_are_made_after_the_tests(tmp_path: Path) -> None:
    whole = yaml.safe_load(MISSION.read_text()) | yaml.safe_load((FILES / "edge_server.yaml").read_text())
    document = read_document(write(tmp_path, whole))
    needs = {one.name: one.needs for one in planned(document)}
    assert needs["packaging"] == "testing" and needs["staging_deployment"] == "testing"


@pytest.mark.parametrize("path", sorted(FILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_accepts_what_is_read(path: Path) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(yaml.safe_load(path.read_text()))


def test_every_key_has_words_in_the_schema() -> None:
    for name, table in SCHEMA["$defs"].items():
        if name != "Block":
            missing = [key for key, one in table["properties"].items() if not one.get("description")]
            assert not missing, f"{name}: {missing}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [", "is not YAML"),
        ("edge_ai_pipeline: {stages: [testing]}\n---\nb: 1\n", "is not YAML.*single document"),
        ("a: &a [x]\nb: *a\n", "has the alias"),
        ("- 1\n", "has no section edge_ai_pipeline"),
        ("", "has no section edge_ai_pipeline"),
        ("x: {}\n", "the key 'x' is unknown"),
        ("edge_ai_pipelin: {stages: [testing]}\n", "did you mean 'edge_ai_pipeline'"),
        (of(optimisation={}), "'optimisation' is unknown; did you mean 'optimization'"),
        (of(optimization={"framework": []}), "did you mean 'frameworks'"),
        (of(optimization={"frameworks": ["openvin"]}), "did you mean 'openvino'"),
        (of(optimization={"validation": {"cross_validation": "enable"}}), "did you mean 'enabled'"),
        (of(stages=["optimisation"]), "did you mean 'optimization'"),
        (of(stages=[]), "stages is empty"),
        (of(stages=["testing", "testing"]), "has testing twice"),
        (of(stages=["testing", "optimization"]), "out of order"),
        (of(stages=["packaging"]), "the file has no packages"),
        (of(stages="testing"), "stages is 'testing'"),
        (of(model_validation={"accuracy_threshold": 95}), "accuracy_threshold is 95"),
        (of(model_validation={"accuracy_threshold": 0}), "accuracy_threshold is 0"),
        (of(model_validation={"accuracy_threshold": "high"}), "accuracy_threshold is 'high'"),
        (of(model_validation={"accuracy_threshold": float("nan")}), "accuracy_threshold is nan"),
        (of(model_validation=None), "not a mapping"),
        (of(staging_deployment={"clients": 0}), "clients is 0"),
        (of(deployment={"strategy": "blue-green"}), "did you mean 'blue_green'"),
        (of() | {"edge_server": {"intel": {}}}, "did you mean 'intel_based'"),
        ({"edge_ai_pipeline": {}}, "has no 'stages'"),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_document(write(tmp_path, content))
    assert caught.value.exit_code == 2 and caught.value.hint


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("lost.yaml", "binary.yaml", "."):
        with pytest.raises(InputError):
            read_document(tmp_path / name)


def test_a_bomb_of_anchors_is_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    with pytest.raises(InputError, match="aliases are not read"):
        read_document(write(tmp_path, "\n".join(lines)))


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
_KEYS = st.sampled_from(["stages", "model", "optimization", "testing", "deployment", "registry", "nonsense"])


@given(st.dictionaries(_KEYS, _TREES, max_size=4))
def test_whatever_is_in_a_file_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, section: Any
) -> None:
    folder = tmp_path_factory.mktemp("any")
    try:
        path = write(folder, {"edge_ai_pipeline": {"stages": ["optimization"], **section}})
    except yaml.YAMLError:
        return
    try:
        found = read_document(path)
    except EdgehoneError as error:
        assert error.exit_code == 2 and error.hint
    else:
        assert isinstance(found, Document)
        jsonschema.Draft202012Validator(SCHEMA).validate(yaml.safe_load(path.read_text()))


def test_options_stand_above_the_file(tmp_path: Path) -> None:
    asked = Asked(MISSION, model="m", name="n", registry="r", out="o", changes=["testing.soak=30s"])
    pipeline = work_of(asked).pipeline
    assert pipeline.model.path == str(Path("m").absolute()) and pipeline.model.name == "n"
    assert pipeline.registry.where == str(Path("r").absolute()) and pipeline.testing.soak == "30s"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("testing.soak", "--set is 'testing.soak'"),
        ("testing.soke=1s", "did you mean 'soak'"),
        ("stages.x=1", "there is no table stages"),
        ("testing.soak=[", "is not YAML"),
    ],
)
def test_a_wrong_change_is_refused(change: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_document(MISSION, [change])


@pytest.mark.parametrize(
    ("fields", "changes", "said"),
    [
        ({}, [], "no model is named"),
        ({"model": "lost"}, [], "there is no model"),
        ({"model": "DEMO", "bundle": "b"}, [], "--bundle is for files without"),
        ({"model": "DEMO"}, ["testing.soak=soon"], "testing.soak 'soon' is not a duration"),
        ({"model": "DEMO"}, ["testing.profile=lost.toml"], "no such profile"),
        ({"model": "DEMO"}, ["model.eval=lost.txt"], "eval: there is no"),
        ({"model": "DEMO"}, ["deployment.server=http://127.0.0.1:1"], "admin_key_file is None"),
        ({}, ["stages=[staging_deployment]"], "no stage makes a bundle"),
        ({"bundle": "lost"}, ["stages=[staging_deployment]"], "no such bundle"),
    ],
)
def test_what_would_be_missed_later_is_missed_at_once(
    fields: dict[str, str], changes: list[str], said: str, demo_model: Path, own_home: Path
) -> None:
    given = {name: str(demo_model) if one == "DEMO" else one for name, one in fields.items()}
    with pytest.raises(InputError, match=said):
        check_inputs(work_of(Asked(MISSION, changes=changes, **given)))


def test_the_schema_that_ships_is_that_of_the_types() -> None:
    from importlib.resources import files

    shipped = json.loads(files("edgehone").joinpath("data/pipeline.schema.json").read_text("utf-8"))
    assert shipped == SCHEMA
