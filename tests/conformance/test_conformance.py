"""The suite over every registered backend, and over backends that break one rule each."""

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

# Whoever is registered is tested; all but the fake run a real toolchain.
REGISTERED = [
    pytest.param(point.name, marks=[] if point.name == "null" else [pytest.mark.real])
    for point in sorted(entry_points(group=registry.GROUP))
]

# What is appended to an honest backend, and the one check that it must fail by name.
SESSION = "\nclass Broken(HalfSession):\n{}\n\nHonest, HalfSession = HalfSession, Broken\n"
BROKEN: dict[str, str] = {
    "module_has_the_names": "NAME = 'whole'\n",
    "capability_names_are_spelled_correctly": "def open_grahp(artifact, settings, job): ...\n",
    "capabilities_are_complete_and_callable": "def open_vision(artifact, settings): ...\n",
    "import_brings_no_framework": "import numpy\n",
    "supports_answers_with_reasons": """
honest = supports
def supports(model):
    return honest(model) if model.experts is None else Support(False)
""",
    "recipes_begin_with_the_exact_one": "honest = recipes\ndef recipes(model): return honest(model)[::-1]\n",
    "recipes_have_keys_of_their_own": """
honest = recipes
def recipes(model): return [*honest(model), Recipe(NAME, "f16")]
""",
    "recipes_are_plain_data": """
def recipes(model): return [Recipe(NAME, "f32", {"dtype": "float32"}, {"limit": float("nan")}, exact=True)]
""",
    "recipes_are_the_same_each_time": """
import random
def recipes(model): return [Recipe(NAME, "f32", {"dtype": "float32", "seed": random.random()}, exact=True)]
""",
    "steps_lead_to_functions": "def steps(recipe): return Step('edgehone_half:nowhere', reads=('model',))\n",
    "steps_are_equal_where_recipes_are": """
import random
honest = steps
def steps(recipe): return Step("edgehone_half:cast", {"seed": random.random()}, {"table": honest(recipe)})
""",
    "devices_have_recipes": """
from dataclasses import replace
def device_recipes(model, recipes, seen):
    made = [replace(one, name=one.name + "@NPU", settings={"device": "NPU"}) for one in recipes]
    return made, {}
""",
    "environment_can_be_made": "NEEDS = Needs(lock=Path('/no/such/lock.txt'))\n",
    "tokenizer_gives_the_originals_ids": SESSION.format(
        "    def tokenize(self, text): return super().tokenize(text)[1:]"
    ),
    "detokenize_gives_the_text_back": SESSION.format("    def detokenize(self, ids): return 'The people'"),
    "score_gives_a_row_for_each_id": SESSION.format(
        "    def score(self, ids):\n        for rows in super().score(ids): yield rows[1:]"
    ),
    "score_repeats": SESSION.format(
        "    calls = 0\n    def score(self, ids):\n        self.calls += 1\n"
        "        for rows in super().score(ids): rows[:, 7] += self.calls; yield rows"
    ),
    "score_forgets_earlier_calls": SESSION.format(
        "    last = 0\n    def score(self, ids):\n"
        "        for rows in super().score(ids): rows[0, self.last] += 9; yield rows\n        self.last = ids[-1]"
    ),
    "score_of_a_prefix_is_part_of_the_whole": SESSION.format(
        "    def score(self, ids):\n        for rows in super().score(ids): rows[:, ids[-1]] += 2; yield rows"
    ),
    "builds_score_equally": """
honest_cast = cast
def cast(job):
    import os
    import numpy as np
    facts = honest_cast(job)
    table = np.load(job.out / "table.npy")
    table[:, 0] += int.from_bytes(os.urandom(4), "little") / 2**31
    np.save(job.out / "table.npy", table)
    return facts
""",
    "generate_makes_so_many_tokens": SESSION.format(
        "    def generate(self, ids, count, on_token=None):\n        return super().generate(ids, count - 1, on_token)"
    ),
    "generate_takes_the_likeliest": SESSION.format(
        "    def generate(self, ids, count, on_token=None):\n        made = super().generate(ids, count, on_token)\n"
        "        return Generation(made.started, [65] * len(made.ids), made.times)"
    ),
    "generate_repeats": SESSION.format(
        "    calls = 0\n    def generate(self, ids, count, on_token=None):\n        self.calls += 1\n"
        "        return super().generate([*ids, 60 + self.calls], count, on_token)"
    ),
    "generate_stops_when_told": SESSION.format(
        "    def generate(self, ids, count, on_token=None):\n        return super().generate(ids, count)"
    ),
    "generate_many_is_generate_for_each": SESSION.format(
        "    def generate_many(self, prompts, count):\n"
        "        return [self.generate(prompts[0], count) for _ in prompts]"
    ),
    "a_closed_session_can_be_opened_again": """
opened = []
honest_open = open_session
def open_session(artifact, settings, job):
    opened.append(artifact)
    if len(opened) > 1: raise RuntimeError("opened before")
    return honest_open(artifact, settings, job)
""",
    "bad_ids_are_errors": "def check_ids(ids, vocabulary): pass\n",
    "operators_are_told": """
from edgehone.backends.sessions import OperatorTime
def operator_times(artifact, settings, job, **request): return [OperatorTime("prefill", "all", 1, 3600.0)]
""",
    "devices_are_told": """
def devices(job): return {"devices": [{"id": "GPU", "kind": "gpu"}], "absent": []}
""",
    "nothing_asks_the_network": """
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
def test_every_step_of_a_registered_backend_leads_to_a_function(own_home: Path, name: str) -> None:
    (found,) = conform(name, only=["steps_lead_to_functions"])
    assert found.state == "pass", found.seen


def test_the_pages_backend_conforms_and_leaves_nothing(own_home: Path, install: Install) -> None:
    outcomes = conform(install("edgehone_half", honest_source()))
    others = [(one.check, one.state) for one in outcomes if one.state != "pass"]
    optional = (
        "devices_have_recipes",
        "generate_many_is_generate_for_each",
        "operators_are_told",
        "devices_are_told",
    )
    assert others == [(check, "skip") for check in optional]
    # What stays is the tokenized text: a job of the origin's like any other.
    assert len(list((own_home / "store" / "jobs").iterdir())) == 1
    assert all(one.demand and one.seen for one in outcomes)


def test_every_check_has_a_backend_that_fails_it() -> None:
    of_language = {check.__name__ for check in checks("language")}
    graphs = {check.__name__ for check in checks("graph")} - of_language
    assert {*names()} - graphs == {*BROKEN}


@pytest.mark.parametrize("check", BROKEN)
def test_a_backend_that_breaks_a_rule_fails_that_check(own_home: Path, install: Install, check: str) -> None:
    (found,) = conform(install(f"edgehone_{check}", honest_source() + BROKEN[check]), only=[check])
    assert (found.check, found.state) == (check, "fail"), found.seen
    assert found.seen


def test_a_check_that_ends_the_process_fails_alone(own_home: Path, install: Install) -> None:
    crash = SESSION.format("    def detokenize(self, ids):\n        import os\n        os.abort()")
    some = ["detokenize_gives_the_text_back", "score_repeats"]
    first, second = conform(install("edgehone_crash", honest_source() + crash), only=some)
    assert (first.check, first.state) == (some[0], "fail") and "SIGABRT" in first.seen
    assert (second.check, second.state) == (some[1], "pass")


def test_a_build_that_fails_is_told_once_and_the_rest_is_skipped(own_home: Path, install: Install) -> None:
    source = honest_source() + "\ndef cast(job): raise ValueError('no such dtype')\n"
    outcomes = conform(install("edgehone_unbuilt", source), only=["score_repeats", "generate_repeats"])
    assert [one.state for one in outcomes] == ["fail", "skip"]
    assert "no such dtype" in outcomes[0].seen and "log: " in outcomes[0].seen


def test_a_module_that_is_no_backend_is_a_failure_not_an_error(own_home: Path, install: Install) -> None:
    outcomes = conform(install("edgehone_empty", "NAME = 'half'\n"))
    assert outcomes[0].state == "fail" and "lacks NEEDS" in outcomes[0].seen
    assert {one.state for one in outcomes[1:]} == {"skip"}


def test_unknown_names_are_refused(own_home: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'null'"):
        conform("nul")
    with pytest.raises(InputError, match="no check is called 'score_twice'"):
        conform("null", only=["score_twice"])


def test_the_command_line(
    own_home: Path, install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main.main(["backends", "conform", "null"]) == 0
    told = capsys.readouterr().out
    assert "pass  score_repeats" in told and told.endswith("null: 28 passed, 2 skipped\n")
    name = install("edgehone_bad", honest_source() + BROKEN["recipes_begin_with_the_exact_one"])
    assert main.main(["backends", "conform", name, "--json"]) == 1
    (row,) = json.loads(capsys.readouterr().out)
    (failed,) = [one for one in row["checks"] if one["state"] == "fail"]
    assert (
        row["name"] == "half" and failed["check"] == "recipes_begin_with_the_exact_one" and failed["demand"]
    )
    assert main.main(["backends", "conform", name]) == 1
    assert "demanded: recipes() gives the unquantized conversion first" in " ".join(
        capsys.readouterr().out.split()
    )
