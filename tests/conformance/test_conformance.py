"""The suite for every registered backend, and for backends that violate one requirement each."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from edgehone.backends import registry
from edgehone.cli import main
from edgehone.conformance.suite import conform, names
from edgehone.core.errors import InputError
from edgehone.worker.conformance.run_checks import checks

from .conftest import Install, honest_source

# All registered backends; all but the fake one run a real toolchain. In the long form their processes start cold.
REAL = [point.name for point in sorted(entry_points(group=registry.GROUP)) if point.name != "null"]
COLD = (pytest.mark.real, pytest.mark.cold, pytest.mark.long)
REGISTERED = [
    "null",
    *(pytest.param(name, marks=pytest.mark.real) for name in REAL),
    *(pytest.param(name, marks=COLD, id=f"{name}, cold") for name in REAL),
]

# Code appended to a conforming backend, by the check that must fail.
SESSION = "\nclass Broken(HalfSession):\n{}\n\nHonest, HalfSession = HalfSession, Broken\n"
BROKEN: dict[str, str] = {
    "module_defines_required_names": "NAME = 'whole'\n",
    "capability_names_are_spelled_correctly": "def open_grahp(artifact, settings, job): ...\n",
    "capabilities_are_complete_and_callable": "def open_vision(artifact, settings): ...\n",
    "import_loads_no_framework": "import numpy\n",
    "supports_gives_reasons": """
honest = supports
def supports(model):
    return honest(model) if model.experts is None else Support(False)
""",
    "recipes_start_with_the_exact_one": "honest = recipes\ndef recipes(model): return honest(model)[::-1]\n",
    "recipe_keys_are_unique": """
honest = recipes
def recipes(model): return [*honest(model), Recipe(NAME, "f16")]
""",
    "recipes_are_plain_data": """
def recipes(model): return [Recipe(NAME, "f32", {"dtype": "float32"}, {"limit": float("nan")}, exact=True)]
""",
    "recipes_are_deterministic": """
import random
def recipes(model): return [Recipe(NAME, "f32", {"dtype": "float32", "seed": random.random()}, exact=True)]
""",
    "steps_call_existing_functions": "def steps(recipe): return Step('edgehone_half:nowhere', reads=('model',))\n",
    "steps_are_deterministic": """
import random
honest = steps
def steps(recipe): return Step("edgehone_half:cast", {"seed": random.random()}, {"table": honest(recipe)})
""",
    "device_recipes_are_valid": """
from dataclasses import replace
def device_recipes(model, recipes, seen):
    made = [replace(one, name=one.name + "@NPU", settings={"device": "NPU"}) for one in recipes]
    return made, {}
""",
    "environment_can_be_installed": "NEEDS = Needs(lock=Path('/no/such/lock.txt'))\n",
    "tokenizer_matches_the_original": SESSION.format(
        "    def tokenize(self, text): return super().tokenize(text)[1:]"
    ),
    "detokenize_inverts_tokenize": SESSION.format("    def detokenize(self, ids): return 'The people'"),
    "score_yields_one_row_for_each_id": SESSION.format(
        "    def score(self, ids):\n        for rows in super().score(ids): yield rows[1:]"
    ),
    "score_is_deterministic": SESSION.format(
        "    calls = 0\n    def score(self, ids):\n        self.calls += 1\n"
        "        for rows in super().score(ids): rows[:, 7] += self.calls; yield rows"
    ),
    "score_is_independent_of_earlier_calls": SESSION.format(
        "    last = 0\n    def score(self, ids):\n"
        "        for rows in super().score(ids): rows[0, self.last] += 9; yield rows\n        self.last = ids[-1]"
    ),
    "score_is_causal": SESSION.format(
        "    def score(self, ids):\n        for rows in super().score(ids): rows[:, ids[-1]] += 2; yield rows"
    ),
    "builds_have_equal_scores": """
honest_cast = cast
def cast(job):
    import os
    import numpy as np
    facts = honest_cast(job)
    table = np.load(job.out / "table.npy")
    # One number could round to the same float16 in both builds; a whole table of them cannot.
    table += np.random.default_rng(int.from_bytes(os.urandom(8), "little")).normal(size=table.shape)
    np.save(job.out / "table.npy", table)
    return facts
""",
    "generate_returns_the_requested_count": SESSION.format(
        "    def generate(self, ids, count, on_token=None):\n        return super().generate(ids, count - 1, on_token)"
    ),
    "generate_is_greedy": SESSION.format(
        "    def generate(self, ids, count, on_token=None):\n        made = super().generate(ids, count, on_token)\n"
        "        return Generation(made.started, [65] * len(made.ids), made.times)"
    ),
    "generate_is_deterministic": SESSION.format(
        "    calls = 0\n    def generate(self, ids, count, on_token=None):\n        self.calls += 1\n"
        "        return super().generate([*ids, 60 + self.calls], count, on_token)"
    ),
    "generate_stops_on_request": SESSION.format(
        "    def generate(self, ids, count, on_token=None):\n        return super().generate(ids, count)"
    ),
    "generate_many_matches_generate": SESSION.format(
        "    def generate_many(self, prompts, count):\n"
        "        return [self.generate(prompts[0], count) for _ in prompts]"
    ),
    "sample_follows_its_settings": SESSION.format(
        "    def sample(self, ids, count, sampling, on_token=None):\n"
        "        return self.generate(ids, count, on_token)"
    ),
    "a_closed_session_can_be_reopened": """
opened = []
honest_open = open_session
def open_session(artifact, settings, job):
    opened.append(artifact)
    if len(opened) > 1: raise RuntimeError("opened before")
    return honest_open(artifact, settings, job)
""",
    "invalid_ids_raise_errors": "def check_ids(ids, vocabulary): pass\n",
    "operator_times_are_plausible": """
from edgehone.backends.sessions import OperatorTime
def operator_times(artifact, settings, job, **request): return [OperatorTime("prefill", "all", 1, 3600.0)]
""",
    "quantized_recipes_quantize": """
honest = recipes
def recipes(model): return [*honest(model), Recipe(NAME, "int8", {"dtype": "float16"})]
""",
    "visible_devices_are_reported": """
def devices(job): return {"devices": [{"id": "GPU", "kind": "gpu"}], "absent": []}
""",
    "the_network_is_not_used": """
honest_cast = cast
def cast(job):
    import socket
    try: socket.create_connection(("192.0.2.1", 9), 1)
    except OSError: pass
    return honest_cast(job)
""",
}


@pytest.mark.parametrize("name", REGISTERED)
def test_a_registered_backend_conforms(name: str) -> None:
    outcomes = conform(name)
    assert [(one.check, one.seen) for one in outcomes if one.state == "fail"] == []
    assert sum(one.state == "pass" for one in outcomes) > 15


@pytest.mark.parametrize("name", sorted(point.name for point in entry_points(group=registry.GROUP)))
def test_every_step_of_a_registered_backend_calls_an_existing_function(own_home: Path, name: str) -> None:
    (found,) = conform(name, only=["steps_call_existing_functions"])
    assert found.state == "pass", found.seen


def test_the_documented_backend_conforms_and_leaves_no_jobs(own_home: Path, install: Install) -> None:
    outcomes = conform(install("edgehone_half", honest_source()))
    others = [(one.check, one.state) for one in outcomes if one.state != "pass"]
    optional = (
        "device_recipes_are_valid",
        "generate_many_matches_generate",
        "sample_follows_its_settings",
        "operator_times_are_plausible",
        "quantized_recipes_quantize",
        "visible_devices_are_reported",
    )
    assert others == [(check, "skip") for check in optional]
    # The tokenized text stays, a job of the reference backend like any other.
    assert len(list((own_home / "store" / "jobs").iterdir())) == 1
    assert all(one.demand and one.seen for one in outcomes)


def test_every_check_has_a_backend_that_violates_it() -> None:
    of_language = {check.__name__ for check in checks("language")}
    graphs = {check.__name__ for check in checks("graph")} - of_language
    assert {*names()} - graphs == {*BROKEN}


@pytest.mark.usefixtures("warm_null")
@pytest.mark.parametrize("check", BROKEN)
def test_a_backend_that_violates_a_requirement_fails_its_check(
    own_home: Path, install: Install, check: str
) -> None:
    (found,) = conform(install(f"edgehone_{check}", honest_source() + BROKEN[check]), only=[check])
    assert (found.check, found.state) == (check, "fail"), found.seen
    assert found.seen


@pytest.mark.usefixtures("warm_null")
def test_a_check_that_ends_the_process_fails_without_the_others(own_home: Path, install: Install) -> None:
    crash = SESSION.format("    def detokenize(self, ids):\n        import os\n        os.abort()")
    some = ["detokenize_inverts_tokenize", "score_is_deterministic"]
    first, second = conform(install("edgehone_crash", honest_source() + crash), only=some)
    assert (first.check, first.state) == (some[0], "fail") and "SIGABRT" in first.seen
    assert (second.check, second.state) == (some[1], "pass")


def test_a_failed_build_is_reported_once_and_other_checks_are_skipped(
    own_home: Path, install: Install
) -> None:
    source = honest_source() + "\ndef cast(job): raise ValueError('no such dtype')\n"
    outcomes = conform(
        install("edgehone_unbuilt", source), only=["score_is_deterministic", "generate_is_deterministic"]
    )
    assert [one.state for one in outcomes] == ["fail", "skip"]
    assert "no such dtype" in outcomes[0].seen and "log: " in outcomes[0].seen


def test_a_module_that_is_not_a_backend_fails_the_first_check(own_home: Path, install: Install) -> None:
    outcomes = conform(install("edgehone_empty", "NAME = 'half'\n"))
    assert outcomes[0].state == "fail" and "lacks NEEDS" in outcomes[0].seen
    assert {one.state for one in outcomes[1:]} == {"skip"}


def test_unknown_names_raise_input_errors(own_home: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'null'"):
        conform("nul")
    with pytest.raises(InputError, match="no check is called 'score_twice'"):
        conform("null", only=["score_twice"])


@pytest.mark.usefixtures("warm_null")
def test_the_command_line_prints_checks_and_capabilities(
    own_home: Path, install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main.main(["backends", "conform", "null"]) == 0
    told = capsys.readouterr().out
    assert "pass  score_is_deterministic" in told and told.endswith("null: 30 passed, 14 skipped\n")
    assert (
        "  capabilities: reference, tokenizer, graph, concurrent_graph, engine, serving_settings,\n" in told
    )
    name = install("edgehone_bad", honest_source() + BROKEN["recipes_start_with_the_exact_one"])
    assert main.main(["backends", "conform", name, "--json"]) == 1
    (row,) = json.loads(capsys.readouterr().out)
    assert row["capabilities"] == []
    (failed,) = [one for one in row["checks"] if one["state"] == "fail"]
    assert (
        row["name"] == "half" and failed["check"] == "recipes_start_with_the_exact_one" and failed["demand"]
    )
    assert main.main(["backends", "conform", name]) == 1
    assert "required: recipes() returns exactly one exact recipe" in " ".join(capsys.readouterr().out.split())
