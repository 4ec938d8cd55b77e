"""The stage production_deployment: requests go to the new version, and the alias production names it.

With a server, the new version is loaded and proven beside the old one, and gets the requests: at once, and is watched,
or in steps by a rollout. Without one, the switch is rehearsed on a server of its own. The alias moves last. If requests
fail, or the alias cannot move, the server serves the old version again. What was served before is recorded before
anything changes, so a run that was killed goes on from there, or goes back to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edgehone.bundle.read import read
from edgehone.core.errors import EdgehoneError, InputError, JobError
from edgehone.pipeline.document import Pipeline
from edgehone.pipeline.keys import digests
from edgehone.pipeline.read import settings_fields
from edgehone.pipeline.result import Result
from edgehone.pipeline.serving.requests import told
from edgehone.pipeline.stage import Stage
from edgehone.pipeline.stages import versions
from edgehone.pipeline.stages.common import judge, now
from edgehone.pipeline.work import StageFailed, Work

_SWITCH: Final = "edgehone.pipeline.serving.switch"
_RAMP: Final = "edgehone.pipeline.serving.ramp:ramp"


def _settings(pipeline: Pipeline) -> Mapping[str, Any]:
    found = settings_fields(pipeline.deployment)
    found.pop("monitoring")
    registry = {"where": pipeline.registry.where, "name": pipeline.model.name}
    return {**found, **registry, "conditions": pipeline.testing.conditions}


def _make(work: Work) -> tuple[Mapping[str, Any], str]:
    deployment = work.pipeline.deployment
    version = versions.registered(work)
    path = versions.pulled(work, version["name"], version["number"])
    outputs = {one: version[one] for one in ("name", "number", "digest", "approval")}
    if deployment.traffic_ramping == "gradual" and (
        deployment.server is None or deployment.strategy == "immediate"
    ):
        said = "no server's requests are moved: a ramp needs deployment.server and strategy: blue_green"
        work.found("traffic_ramping", "skipped", said)
    if deployment.strategy == "immediate":
        versions.move(work, versions.PRODUCTION, version, "deployed by the pipeline")
    elif deployment.server is None:
        _rehearse(work, version, path)
        judge(work)
        versions.move(work, versions.PRODUCTION, version, "deployed by the pipeline, after a rehearsal")
    else:
        outputs["server"] = _deploy(work, version, path)
    return outputs, f"{version['name']}:{version['number']} is in production"


def _rehearse(work: Work, version: Mapping[str, Any], path: Path) -> None:
    """Try the switch from the version in production, and back, on a server of its own."""
    name, seconds = version["name"], work.pipeline.deployment.seconds
    before = versions.alias_of(work, name, versions.PRODUCTION)
    old = None if before in (None, version["number"]) else versions.pulled(work, name, int(before))
    begun = now()
    served_as = name.rpartition("/")[2]
    try:
        found = work.call(
            f"{_SWITCH}:rehearse",
            old=str(old) if old else None,
            new=str(path),
            name=served_as,
            seconds=seconds,
        )
    except JobError as error:
        work.found("blue_green", "failed", f"rehearsal: {error.message}", begun)
        return
    if found["first"]:
        said = f"no other version is in production; the new one is served: {told(found['after'])}"
        work.figures.append("the first version")
        work.found("blue_green", "failed" if found["failed"] else "passed", said, begun)
        work.found("rollback", "skipped", "there is no earlier version to go back to")
        return
    _judge_switch(work, found, begun, "rehearsal: ")
    if not found["rolled_back"]:
        work.found(
            "rollback", "passed", f"rehearsal: version {before} again after {found['back_seconds']:.2f} s"
        )


def _judge_switch(work: Work, found: Mapping[str, Any], begun: float, where: str) -> None:
    said = (
        f"{where}proven and switched after {found['seconds']:.1f} s; meanwhile {told(found['during'])}; then "
    )
    said += told(found["after"])
    work.figures.append(f"switched after {found['seconds']:.1f} s")
    work.found("blue_green", "failed" if found["failed"] else "passed", said, begun)
    if found["rolled_back"]:
        said = f"{found['failed']} requests failed; the earlier version is served again after "
        work.figures.append("rolled back")
        work.found("rollback", "passed", f"{where}{said}{found['back_seconds']:.2f} s")


def _deploy(work: Work, version: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Switch the server, and then the alias; or neither."""
    server, key = _server(work)
    name = _served_as(work, version)
    now_served = work.call(f"{_SWITCH}:served", url=server, key_file=key, name=name)
    new = {"path": str(path.resolve()), "name": name}
    back = _champion(work, now_served, new)
    work.remember({"new": new, "back": back})
    automatic = work.pipeline.deployment.rollback == "automatic"
    is_served = now_served is not None and now_served["change"]["path"] == new["path"]
    gradual = work.pipeline.deployment.traffic_ramping == "gradual"
    if gradual and back is not None and not is_served:
        manifest = _ramp(work, {**new, "label": f"{version['name']}:{version['number']}"}, server, key)
    else:
        manifest = _switch(work, new, back if automatic else None, server, key)
    judge(work)
    try:
        versions.move(work, versions.PRODUCTION, version, f"deployed by the pipeline to {server}")
    except EdgehoneError:
        if automatic and back is not None:
            work.call(f"{_SWITCH}:change", url=server, key_file=key, body=back)
            work.found(
                "rollback", "passed", "the alias could not be moved; the earlier version is served again"
            )
        raise
    return {"url": server, "name": name, "manifest": manifest}


def _switch(work: Work, new: Mapping[str, Any], back: Mapping[str, Any] | None, server: str, key: str) -> str:
    """Let the server serve the new version at once. Returns the digest of its manifest."""
    begun = now()
    seconds = work.pipeline.deployment.seconds
    try:
        found = work.call(f"{_SWITCH}:switch", url=server, key_file=key, body=new, seconds=seconds, back=back)
    except JobError as error:
        work.found("blue_green", "failed", error.message, begun)
        raise StageFailed(error.message, hint=error.hint) from error
    _judge_switch(work, found, begun, "")
    return str(found["manifest"])


def _ramp(work: Work, new: Mapping[str, Any], server: str, key: str) -> str:
    """Let a rollout move the server's requests in steps. Returns the digest of the new version's manifest."""
    begun = now()
    rules = work.path(work.pipeline.deployment.rules)
    try:
        found = work.call(_RAMP, url=server, key_file=key, body=new, rules=str(rules) if rules else None)
    except JobError as error:
        work.found("traffic_ramping", "failed", error.message, begun)
        raise StageFailed(error.message, hint=error.hint) from error
    said = f"{found['status']}: {found['reason']}; stages: {', '.join(found['stages'])}; requests: {found['answered']}"
    work.found("traffic_ramping", "passed" if found["status"] == "promoted" else "failed", said, begun)
    work.notes.extend(f"{one['at'][11:19]} {one['kind']}: {one['says']}" for one in found["events"])
    live = sum(count for version, count in found["answered"].items() if version != "copies")
    work.figures.extend([f"ramp: {found['status']}", f"{live:,} requests answered"])
    return str(read(Path(new["path"])).manifest.digest)


def _champion(
    work: Work, served: Mapping[str, Any] | None, new: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Return the body that serves the earlier version again, None without one.

    If an earlier run was killed after it had switched the server, the version that is served now is the new one; the
    earlier one is what that run has recorded.
    """
    remembered = work.remembered
    if remembered and served and served["change"]["path"] == remembered["new"]["path"]:
        champion: Mapping[str, Any] | None = remembered["back"]
        return champion
    if served is None or served["change"]["path"] == new["path"]:
        return None
    return dict(served["change"])


def _server(work: Work) -> tuple[str, str]:
    deployment = work.pipeline.deployment
    key = work.path(deployment.admin_key_file)
    if key is None or not key.is_file():
        raise InputError(
            f"deployment.admin_key_file is {deployment.admin_key_file!r}",
            hint="name the file that the server has as --admin-key-file",
        )
    assert deployment.server is not None
    return deployment.server, str(key)


def _served_as(work: Work, version: Mapping[str, Any]) -> str:
    return work.pipeline.deployment.serve_as or str(version["name"]).rpartition("/")[2]


def _departed(work: Work, result: Result) -> str | None:
    if found := versions.alias_departed(work, result, versions.PRODUCTION):
        return found
    if (server := result.outputs.get("server")) is None:
        return None
    url, key = _server(work)
    try:
        served = work.call(f"{_SWITCH}:served", url=url, key_file=key, name=server["name"])
    except JobError as error:
        return error.message
    if served is None or served["manifest"] != server["manifest"]:
        return f"{url} serves another version as {server['name']}"
    return None


STAGE: Final = Stage(
    name="production_deployment",
    says="requests go to the new version, and the alias production names it",
    needs="staging_deployment",
    settings=_settings,
    inputs=lambda work: digests({"rules": work.path(work.pipeline.deployment.rules)}),
    make=_make,
    departed=_departed,
    approval=lambda pipeline: pipeline.deployment.approval,
)
