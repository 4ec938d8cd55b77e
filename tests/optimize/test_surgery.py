"""Surgery before a build: shared, in the origin's environment, proven like any recipe, skipped where of no use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgehone.backends.base import Recipe
from edgehone.backends.null import backend
from edgehone.core.events import Event
from edgehone.execution.environments.environment import Env
from edgehone.execution.executor import LocalExecutor
from edgehone.execution.job import Input, Limits
from edgehone.inputs import workload
from edgehone.inputs.texts import shipped
from edgehone.model import digest
from edgehone.model.inspect import inspect
from edgehone.optimize.context import ReadyExecutor, RunContext, effort_settings
from edgehone.optimize.evaluate import language, parity
from edgehone.optimize.trial import Trial
from edgehone.transform.surgery import operations
from edgehone.transform.surgery.operations import Operation

HERE = "nullsurgery"


@pytest.fixture(autouse=True)
def _operations(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    for name, measured in (("sharpen", f"{HERE}:measure"), ("nothing", None), ("broken", None)):
        operation = Operation(f"{HERE}:{name}", measured, lambda value: {"factor": value}, str)
        monkeypatch.setitem(operations.OPERATIONS, name, operation)
    yield


@pytest.fixture
def ctx(null_env: Env, null_model: Path, tmp_path: Path) -> RunContext:
    info = inspect(null_model)
    site = ReadyExecutor(LocalExecutor(), {"null": null_env}, Limits(seconds=60))
    return RunContext(
        model=info,
        source=Input(info.path, digest.digest_model(info, tmp_path / "digests")),
        build_executor=site,
        target_executor=site,
        workload=workload.load(),
        effort=effort_settings("quick"),
        backends={"null": backend},
        reference_backend=backend,
        emit=lambda event: None,
        datasets={
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
    ctx: RunContext, own_home: Path
) -> None:
    ctx, prepared = language.prepare(ctx)
    origin = language.reference(ctx, prepared)
    whole, twice, again = trial("q8"), trial("q8-2", sharpen=2.0), trial("q4-2", sharpen=2.0)
    for each in (whole, twice, again):
        parity.build_and_score(ctx, origin, each)
    assert calls(own_home) == [f"{HERE}:measure", f"{HERE}:sharpen"]
    assert all(each.alive for each in (whole, twice, again))
    assert "surgery" not in whole.facts and twice.facts["surgery"] == {"factor": 2.0}
    assert twice.figures["kl_mean"].value > 0.1 > whole.figures["kl_mean"].value  # type: ignore[operator]
    # No mixture of experts: nothing is said of routing.
    assert "routing_agreement" not in twice.figures


def test_two_operations_follow_each_other(ctx: RunContext, own_home: Path) -> None:
    ctx, prepared = language.prepare(ctx)
    origin = language.reference(ctx, prepared)
    both = trial("q8-both", sharpen=2.0, nothing=1)
    parity.build_and_score(ctx, origin, both)
    assert (both.status, both.error) == ("skipped", "every row is used")
    assert calls(own_home) == [f"{HERE}:measure", f"{HERE}:nothing", f"{HERE}:sharpen"]


def test_what_gains_nothing_is_skipped_and_what_breaks_has_failed(ctx: RunContext) -> None:
    told: list[Event] = []
    ctx, prepared = language.prepare(ctx)
    origin = language.reference(ctx, prepared)
    object.__setattr__(ctx, "emit", told.append)
    idle, bad = trial("q8-nothing", nothing=1), trial("q8-broken", broken=1)
    parity.build_and_score(ctx, origin, idle)
    parity.build_and_score(ctx, origin, bad)
    assert (idle.status, idle.error, idle.log) == ("skipped", "every row is used", None)
    assert bad.status == "failed" and "no scalpel" in str(bad.error) and Path(str(bad.log)).exists()
    assert [(e.key, e.state) for e in told if e.state in ("skipped", "failed")] == [
        ("null/q8-nothing", "skipped"),
        ("null/q8-broken", "failed"),
    ]
