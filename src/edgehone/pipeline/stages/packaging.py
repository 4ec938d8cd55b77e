"""The stage packaging: `edgehone package`, of the blocks mobile_deployment and edge_server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgehone.bundle.read import read
from edgehone.core.errors import EdgehoneError
from edgehone.package.deployment import Block, backends_of_framework, read_blocks, target_of
from edgehone.pipeline.document import Pipeline
from edgehone.pipeline.keys import digests
from edgehone.pipeline.read import settings_fields
from edgehone.pipeline.result import Result
from edgehone.pipeline.stage import Stage
from edgehone.pipeline.stages.common import bundle_facts, judge, now
from edgehone.pipeline.stages.optimization import words_of
from edgehone.pipeline.work import StageFailed, Work


def _inputs(work: Work) -> Mapping[str, str]:
    given = {name: str(one) for name, one in bundle_facts(work.given).items()} if work.given else {}
    blocks = json.dumps(work.document.deployments, sort_keys=True)
    return {**given, **digests({"key": work.path(work.pipeline.packaging.key)}), "blocks": blocks}


def _make(work: Work) -> tuple[Mapping[str, Any], str]:
    made = {}
    for section, content in work.document.deployments.items():
        for name, block in content.items():
            file = work.out / "deployment" / f"{name}.yaml"
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps({section: {name: block}}, indent=1), "utf-8")  # JSON is YAML
            if path := _packaged(work, read_blocks(file)[0], file):
                made[name] = digests({name: path})[name]
    work.figures.append(f"{len(made)} package{'' if len(made) == 1 else 's'}")
    judge(work)
    return {"packages": made}, f"{len(made)} packages: {', '.join(made)}"


def _packaged(work: Work, block: Block, file: Path) -> Path | None:
    """Make the package of a block, and note how it came out. Returns its folder, None if it was not made."""
    out = work.out / "packages" / block.name
    begun = now()
    try:
        target = target_of(block)
        bundle = _bundle_for(work, block)
    except EdgehoneError as error:
        work.found(block.name, "failed", error.message, begun)
        return None
    words = ["package", str(bundle), "--for", target, "--from", str(file), "--out", str(out)]
    words += ["--key", str(key)] if (key := work.path(work.pipeline.packaging.key)) else []
    done = work.verb(*words)
    if done.code != 0:
        work.found(block.name, "failed", done.problem, begun)
        return None
    checks = done.facts["checks"]
    passed = sum(one["outcome"] == "passed" for one in checks)
    work.found(block.name, "passed", f"{target}; {passed} of {len(checks)} checks passed here", begun)
    work.notes.extend(f"{block.name}: {warning}" for warning in done.facts["warnings"])
    return out


def _bundle_for(work: Work, block: Block) -> Path:
    """Return a bundle of the framework that a block asks for: this run's, or one that is optimized with it only."""
    framework = block.asked.get("framework")
    wanted: Sequence[str] = backends_of_framework(framework, block.name) if framework else ()
    if not wanted or read(work.bundle).manifest.recipe["backend"] in wanted:
        return work.bundle
    if work.given or work.pipeline.model.path is None:
        return work.bundle  # `edgehone package` says what does not fit
    path = work.out / "bundles" / str(framework)
    done = work.verb(*words_of(work, wanted), "--out", str(path))
    if done.code != 0:
        raise StageFailed(f"no bundle of {framework} is made: {done.facts.get('reason') or done.problem}")
    return path


def _settings(pipeline: Pipeline) -> Mapping[str, Any]:
    return settings_fields(pipeline.packaging)


def _departed(work: Work, result: Result) -> str | None:
    for name, digest in result.outputs["packages"].items():
        path = work.out / "packages" / name
        if not path.is_dir() or digests({name: path})[name] != digest:
            return f"{path} was changed"
    return None


STAGE: Final = Stage(
    name="packaging",
    says="packages are made of the blocks mobile_deployment and edge_server",
    needs="testing",
    settings=_settings,
    inputs=_inputs,
    make=_make,
    departed=_departed,
    approval=lambda pipeline: pipeline.packaging.approval,
)
