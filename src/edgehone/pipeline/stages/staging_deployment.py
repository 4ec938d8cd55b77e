"""The stage staging_deployment: the version is registered, served on a local port, proven, and put under load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgehone.core.errors import JobError
from edgehone.pipeline.document import Pipeline
from edgehone.pipeline.read import settings_fields
from edgehone.pipeline.result import Result
from edgehone.pipeline.serving.requests import figures_of, told
from edgehone.pipeline.stage import Stage
from edgehone.pipeline.stages import versions
from edgehone.pipeline.stages.common import bundle_facts, judge, now
from edgehone.pipeline.work import StageFailed, Work


def _settings(pipeline: Pipeline) -> Mapping[str, Any]:
    registry = {"where": pipeline.registry.where, "name": pipeline.model.name}
    return {
        **settings_fields(pipeline.staging_deployment),
        **registry,
        "conditions": pipeline.testing.conditions,
    }


def _inputs(work: Work) -> Mapping[str, str]:
    return {name: str(one) for name, one in bundle_facts(work.given).items()} if work.given else {}


def _make(work: Work) -> tuple[Mapping[str, Any], str]:
    settings = work.pipeline.staging_deployment
    version = versions.push(work)
    path = versions.pulled(work, version["name"], version["number"])
    begun = now()
    try:
        found = work.call(
            "edgehone.pipeline.serving.staging:stage",
            bundle=str(path),
            clients=settings.clients,
            seconds=settings.seconds,
        )
    except JobError as error:
        work.found("serve", "failed", error.message, begun)
        raise StageFailed(error.message, hint=f"edgehone serve {path}") from error
    work.found("serve", "passed", f"ready after {found['ready']:.1f} s: it gave its canaries again", begun)
    load = found["load"]
    whole = load["requests"] > 0 and load["answered"] == load["requests"]
    work.found("load", "passed" if whole else "failed", told(load))
    same = "the same answer before and after the load" if found["same"] else "another answer after the load"
    work.found("answers", "passed" if found["same"] else "failed", same)
    work.figures.extend(figures_of(load))
    judge(work)
    versions.move(work, versions.STAGING, version, "it passed the stage staging_deployment")
    return {
        **version,
        "ready": found["ready"],
        "load": load,
    }, f"{version['name']}:{version['number']}, {told(load)}"


def _departed(work: Work, result: Result) -> str | None:
    return versions.alias_departed(work, result, versions.STAGING)


STAGE: Final = Stage(
    name="staging_deployment",
    says="the version is registered, served on a local port, proven, and put under load",
    needs="testing",
    settings=_settings,
    inputs=_inputs,
    make=_make,
    departed=_departed,
    approval=lambda pipeline: pipeline.staging_deployment.approval,
)
