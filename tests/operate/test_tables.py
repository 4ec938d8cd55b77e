"""remedies.toml and service.toml fit together, and every fact that they name is there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edgehone.backends import registry
from edgehone.diagnosis import service
from edgehone.diagnosis.facts import Fact
from edgehone.diagnosis.service import judge_service
from edgehone.monitor.table import table as alert_table
from edgehone.operate import remedies
from edgehone.operate.actions import bundles, serving
from edgehone.operate.facts import Seen, facts_of
from edgehone.operate.options import ORDER

MODEL: dict[str, Any] = {
    "name": "bundle", "id": "a", "backend": "llamacpp", "kind": "language", "state": "ready", "problem": None,
    "ended": None, "threads": 1, "places": 8, "context": 512, "waiting": 0, "running": 1,
    "settings": {"prefix_cache": False},
    "accepts": {"threads": [2, 1], "prefix_cache": [True, False], "load": ["mmap", "read"]},
    "change": {"path": "/b", "name": "bundle", "parallel": 8, "settings": {}, "context": None, "batch": None},
}  # fmt: skip


def seen(**fields: object) -> Seen:
    given = {
        "model": MODEL, "server": {"threads": 2, "physical_cores": 2}, "watch": {}, "up": True, "metrics": {},
        "recent": {}, "processors": None, "growth": None, "faults_per_s": None, "read_per_s": None, "io_pressure": None,
        "free_bytes": None, "clock_jump_s": 0.0, "changed": None, "group": None,
    }  # fmt: skip
    return Seen(**{**given, **fields})  # type: ignore[arg-type]


def test_every_fact_of_both_tables_is_gathered() -> None:
    facts = facts_of(seen())
    named = {one["fact"] for entry in service.table() for one in entry["when"]}
    named |= {condition["fact"] for one in remedies.table() for condition in one.when}
    named |= {
        value for one in remedies.table() for value in one.values.values() if isinstance(value, str)
    } & {"cores", "proven_threads"}
    assert named <= facts.keys()
    assert facts_of(seen(model=None)).keys() >= named


def test_remedies_name_causes_symptoms_and_backends_that_exist() -> None:
    causes = {one["name"]: set(one["symptoms"]) for one in service.table()}
    rows = (*alert_table().alert, *alert_table().objective)
    assert set(ORDER) == {
        "latency",
        "memory",
        "throughput",
        "errors",
        "accuracy",
        "drift",
        "security",
        "infrastructure",
        "business",
    }
    assert {one.symptom for one in rows} <= set(ORDER)
    for one in remedies.table():
        assert set(one.symptoms) <= set(ORDER) and set(one.backends) <= set(registry.names())
        for cause in (*one.causes, *one.not_causes):
            assert causes[cause] & set(one.symptoms), (one.name, cause)
    names = [one.name for one in remedies.table()]
    assert len(names) == len({*names})


@pytest.mark.parametrize(
    ("symptom", "fields", "cause"),
    [
        ("latency", {}, "fewer threads than proven"),
        ("latency", {}, "prefix cache off"),
        (
            "latency",
            {"recent": {"loads": 1.0}, "server": {"threads": 2, "unload_after": 60.0}},
            "requests wait until the model is loaded",
        ),
        ("errors", {"recent": {"restarts": 2.0}}, "the engine ended"),
        ("errors", {"up": False}, "the server does not answer"),
        ("accuracy", {"changed": (60.0, "path: a → b")}, "served otherwise than before"),
        ("drift", {"metrics": {"drift_inputs": 1.0}}, "inputs drifted"),
        ("accuracy", {"metrics": {"drift_answers": 1.0}}, "the model's answers got worse"),
        ("infrastructure", {"metrics": {"drift_service": 1.0}}, "requests are slower or fail more often"),
        ("infrastructure", {"free_bytes": 1_000_000}, "the disk is full"),
        ("infrastructure", {"clock_jump_s": -3600.0}, "the clock was set"),
        ("security", {"recent": {"requests": 100.0, "invalid": 40.0}}, "hostile or broken requests"),
        ("latency", {"io_pressure": 0.7}, "the disk is slow"),
        ("latency", {"read_per_s": 2e7, "faults_per_s": 5.0}, "weights are read from the disk again"),
        ("infrastructure", {"metrics": {"disk_write_s": 11.2}}, "writes wait for the disk"),
    ],
)
def test_causes_are_found_by_their_facts(symptom: str, fields: dict[str, object], cause: str) -> None:
    found = {one.name: one for one in judge_service(facts_of(seen(**fields)), symptom)}
    assert found[cause].found and "{" not in found[cause].says and found[cause].evidence


def test_a_model_that_requests_load_again_stays_loaded_and_only_once() -> None:
    remedy = next(one for one in remedies.table() if one.name == "the model stays loaded")
    look = SimpleNamespace(models={"bundle": MODEL})
    case: Any = SimpleNamespace(model="bundle", look=look, facts=facts_of(seen()))
    plan = serving.limits(remedy, case)
    assert isinstance(plan, dict) and plan["after"] == {**MODEL["change"], "keep": True}
    look.models["bundle"] = {**MODEL, "change": plan["after"]}
    assert serving.limits(remedy, case) == "keep is True already"
    kept = facts_of(seen(model=look.models["bundle"], recent={"loads": 3.0}))
    assert "requests wait until the model is loaded" not in [
        one.name for one in judge_service(kept, "latency") if one.found
    ]


@pytest.mark.parametrize(
    ("threads", "proven", "usable", "cause", "right"),
    [
        (1, 2, 2, "fewer threads than proven", 2),
        (2, 1, 2, "more threads than proven", 1),
        (2, 2, 1, "more threads than proven", 1),  # it may use fewer processors than when it began
        (2, 2, 2, None, 2),
        (2, 8, 2, None, 2),
        (1, None, 2, "fewer threads than proven", 2),  # a bundle from another machine: its cores
    ],
)
def test_wrong_threads_are_named_and_the_proven_number_is_the_remedy(
    threads: int, proven: int | None, usable: int, cause: str | None, right: int
) -> None:
    model = {**MODEL, "threads": threads, "proven_threads": proven}
    facts = facts_of(seen(model=model, server={"threads": usable, "physical_cores": 2}))
    found = [one.name for one in judge_service(facts, "latency") if one.found and "threads" in one.name]
    assert found == ([cause] if cause else []) and facts["proven_threads"].value == right
    accepts = {"threads": [*range(usable, 0, -1)]}
    look = SimpleNamespace(models={"bundle": {**model, "settings": {}, "accepts": accepts}})
    case: Any = SimpleNamespace(model="bundle", look=look, facts=facts)
    remedy = next(one for one in remedies.table() if one.name == "the proven number of threads")
    plan = serving.settings(remedy, case)
    assert (plan if isinstance(plan, str) else plan["after"]["settings"]) == (
        {"threads": right} if cause else f"threads is {right} already"
    )


def test_no_other_bundle_is_served_where_nothing_would_tell_whether_it_is_better() -> None:
    """As with an alarm of drift alone, which stays whatever is served."""
    case: Any = SimpleNamespace(can_compare=False)
    of = {
        one.name: one
        for one in remedies.table()
        if one.name in ("the previous version", "a bundle of more bits")
    }
    assert len(of) == 2 and all("nothing would tell" in str(bundles.plan(one, case)) for one in of.values())


def test_an_unknown_fact_finds_nothing() -> None:
    facts = {**facts_of(seen()), "threads_of_proven": Fact(None, "hidden")}
    found = {one.name: one.found for one in judge_service(facts, "latency")}
    assert found["fewer threads than proven"] is None


def test_remedies_in_order_and_only_for_their_causes() -> None:
    names = [
        one.name for one in remedies.fitting("latency", "llamacpp", "language", ["fewer threads than proven"])
    ]
    assert names[0] == "the proven number of threads" and "several streams" not in names
    assert (
        "more processors for the control group" not in names
        and names[-1] == "a faster bundle of the frontier"
    )
    busy = remedies.fitting("latency", "llamacpp", "language", ["other programs take the processors"])
    assert "fewer requests at once" not in [one.name for one in busy]
    busy = remedies.fitting("throughput", "llamacpp", "language", ["other programs take the processors"])
    assert "more requests at once" not in [one.name for one in busy]
    assert not remedies.fitting("security", "llamacpp", "language", ["hostile or broken requests"])
