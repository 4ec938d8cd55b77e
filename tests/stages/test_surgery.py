"""Surgery before a build: shared, in the origin's environment, proven like any recipe, skipped where of no use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgehone.backends import null
from edgehone.backends.base import Recipe
from edgehone.events import Event
from edgehone.jobs.environments import Env
from edgehone.jobs.place import Here
from edgehone.jobs.run import Input, Limits
from edgehone.measure import workload
from edgehone.measure.texts import shipped
from edgehone.model import digest, inspect
from edgehone.stages import check, language
from edgehone.stages.bench import Bench, Site, depth
from edgehone.stages.trial import Trial
from edgehone.surgery import operations
from edgehone.surgery.operations import Operation

HERE = "nullsurgery"


@pytest.fixture(autouse=True)
def _operations(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    for name, measured in (("sharpen", f"{HERE}:measure"), ("nothing", None), ("broken", None)):
        operation = Operation(f"{HERE}:{name}", measured, lambda value: {"factor": value}, str)
        monkeypatch.setitem(operations.OPERATIONS, name, operation)
    yield


@pytest.fixture
def bench(null_env: Env, null_model: Path, tmp_path: Path) -> Bench:
    info = inspect(null_model)
    site = Site(Here(), {"null": null_env}, Limits(seconds=60))
    return Bench(
        model=info,
        source=Input(info.path, digest.digest_model(info, tmp_path / "digests")),
        workshop=site,
        stand=site,
        workload=workload.load(),
        depth=depth("quick"),
        backends={"null": null},
        origin=null,
        emit=lambda event: None,
        texts={
            kind: Input(shipped(kind), digest.digest_file(shipped(kind)))
            for kind in ("evaluation", "calibration")
        },
    )


def trial(name: str, **surgery: float) -> Trial:
    return Trial(Recipe("null", name, {"bits": 8}, surgery=surgery))


def calls(home: Path) -> list[str]:
    found = [json.loads(path.read_text("utf-8"))["call"] for path in home.glob("store/jobs/*/job.json")]
    return sorted(call for call in found if call.startswith(HERE))


def test_recipes_share_a_surgery_and_each_is_proven_against_the_original(
    bench: Bench, own_home: Path
) -> None:
    bench, prepared = language.prepare(bench)
    origin = language.reference(bench, prepared)
    whole, twice, again = trial("q8"), trial("q8-2", sharpen=2.0), trial("q4-2", sharpen=2.0)
    for each in (whole, twice, again):
        check.prove(bench, origin, each)
    assert calls(own_home) == [f"{HERE}:measure", f"{HERE}:sharpen"]
    assert all(each.alive for each in (whole, twice, again))
    assert "surgery" not in whole.facts and twice.facts["surgery"] == {"factor": 2.0}
    assert twice.figures["kl_mean"].value > 0.1 > whole.figures["kl_mean"].value  # type: ignore[operator]
    # No mixture of experts: nothing is said of routing.
    assert "routing_agreement" not in twice.figures


def test_two_operations_follow_each_other(bench: Bench, own_home: Path) -> None:
    bench, prepared = language.prepare(bench)
    origin = language.reference(bench, prepared)
    both = trial("q8-both", sharpen=2.0, nothing=1)
    check.prove(bench, origin, both)
    assert (both.status, both.error) == ("skipped", "every row is used")
    assert calls(own_home) == [f"{HERE}:measure", f"{HERE}:nothing", f"{HERE}:sharpen"]


def test_what_gains_nothing_is_skipped_and_what_breaks_has_failed(bench: Bench) -> None:
    told: list[Event] = []
    bench, prepared = language.prepare(bench)
    origin = language.reference(bench, prepared)
    object.__setattr__(bench, "emit", told.append)
    idle, bad = trial("q8-nothing", nothing=1), trial("q8-broken", broken=1)
    check.prove(bench, origin, idle)
    check.prove(bench, origin, bad)
    assert (idle.status, idle.error, idle.log) == ("skipped", "every row is used", None)
    assert bad.status == "failed" and "no scalpel" in str(bad.error) and Path(str(bad.log)).exists()
    assert [(e.key, e.state) for e in told if e.state in ("skipped", "failed")] == [
        ("null/q8-nothing", "skipped"),
        ("null/q8-broken", "failed"),
    ]
