"""The stage monitoring: rules and dashboards of the version, and its alerts, evaluated while it answers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edgehone.core.errors import JobError
from edgehone.pipeline.document import Pipeline
from edgehone.pipeline.keys import digests
from edgehone.pipeline.result import Result
from edgehone.pipeline.serving.requests import figures_of, told
from edgehone.pipeline.stage import Stage
from edgehone.pipeline.stages import versions
from edgehone.pipeline.stages.common import judge, now, required
from edgehone.pipeline.work import StageFailed, Work


def _settings(pipeline: Pipeline) -> Mapping[str, Any]:
    deployment = pipeline.deployment
    return {one: getattr(deployment, one) for one in ("monitoring", "server", "serve_as", "seconds")}


def _make(work: Work) -> tuple[Mapping[str, Any], str]:
    deployment = work.pipeline.deployment
    deployed = work.results.get("production_deployment")
    version = deployed.outputs if deployed else versions.registered(work)
    path = versions.pulled(work, version["name"], version["number"])
    name = deployment.serve_as or path.name
    out = work.out / "monitoring"
    words: list[str | Path] = ["monitor", path, "--out", out]
    if deployment.server is not None:
        words = ["monitor", deployment.server, "--baseline", f"{name}={path}", "--out", out]
    begun = now()
    facts = required(work, "rules", work.verb(*words), begun)
    left_out = facts["left_out"]
    said = f"{len(facts['files'])} files in {out.name}/; {len(left_out)} alerts have no baseline and are left out"
    work.found("rules", "passed", said, begun)
    _promtool(work, out)
    if deployment.monitoring == "real_time":
        _watch(work, path, name)
    judge(work)
    return {"rules": digests({"rules": out})["rules"]}, said


def _promtool(work: Work, out: Path) -> None:
    """Let promtool test the rules, if it is installed."""
    program = shutil.which("promtool")
    if program is None:
        work.found("rules_test", "skipped", "promtool is not installed (Debian: apt install prometheus)")
        return
    begun = now()
    words = [program, "test", "rules", "rules_test.yml"]
    done = subprocess.run(
        words, cwd=out / "prometheus", capture_output=True, text=True, check=False, timeout=300
    )
    said = "promtool: every alert fires beyond its limit, and is silent within"
    if done.returncode != 0:
        said = " ".join((done.stdout + done.stderr).split())[-300:]
    work.found("rules_test", "passed" if done.returncode == 0 else "failed", said, begun)


def _watch(work: Work, path: Path, name: str) -> None:
    deployment = work.pipeline.deployment
    begun = now()
    try:
        found = work.call(
            "edgehone.pipeline.serving.watch:watch",
            bundle=str(path),
            name=name,
            url=deployment.server,
            seconds=deployment.seconds,
        )
    except JobError as error:
        work.found("real_time", "failed", error.message, begun)
        raise StageFailed(error.message, hint=error.hint) from error
    wrong = [*found["firing"], *([f"{found['failed']} requests failed"] if found["failed"] else [])]
    if found["problem"]:
        wrong.append(found["problem"])
    held = "; ".join(wrong) if wrong else "no alert holds"
    own = f"{found['own']:,} requests of its clients" if found["own"] else None
    work.figures.extend([held, own or figures_of(found["load"])[0]])
    said = f"{own or told(found['load'])}; {held}"
    work.found("real_time", "failed" if wrong else "passed", said, begun)
    work.notes.extend(f"for less than its time: {one}" for one in found["pending"])


def _departed(work: Work, result: Result) -> str | None:
    out = work.out / "monitoring"
    if not out.is_dir() or digests({"rules": out})["rules"] != result.outputs["rules"]:
        return f"{out} was changed"
    return None


STAGE: Final = Stage(
    name="monitoring",
    says="rules and dashboards are written, and alerts evaluated while it answers",
    needs="production_deployment",
    settings=_settings,
    inputs=lambda work: {},
    make=_make,
    departed=_departed,
    approval=lambda pipeline: "automatic",
)
