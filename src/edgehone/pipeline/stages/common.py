"""What several stages do: digests of the model and its data, the bundle as it was written, failures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.attestation.certificate import CERTIFICATE
from edgehone.bundle.read import read
from edgehone.bundle.verify import differences
from edgehone.core.errors import EdgehoneError
from edgehone.execution.home import home
from edgehone.model.digest import digest_file, digest_model
from edgehone.model.inspect import inspect
from edgehone.pipeline.child import Done
from edgehone.pipeline.keys import digests
from edgehone.pipeline.result import Result
from edgehone.pipeline.work import StageFailed, Work


def data_inputs(work: Work) -> dict[str, str]:
    """Return the digests of the model and of the files that it is evaluated with."""
    model = work.pipeline.model
    found = digests({name: work.path(getattr(model, name)) for name in ("eval", "calibrate", "config")})
    if model.config is None and Path("edgehone.toml").is_file():
        found |= digests({"config": Path("edgehone.toml")})
    return {"model": digest_model(inspect(work.model), home() / "digests"), **found}


def bundle_facts(path: Path) -> dict[str, Any]:
    """Return the digests of a bundle's manifest and certificate, None without one."""
    file = path / CERTIFICATE
    certificate = digest_file(file) if file.exists() else None
    return {"manifest": read(path).manifest.digest, "certificate": certificate}


def bundle_departed(work: Work, result: Result) -> str | None:
    """Return what differs of the bundle since a stage passed, None if nothing does."""
    try:
        bundle = read(work.bundle)
    except EdgehoneError as error:
        return error.message
    if bundle.manifest.digest != result.outputs["manifest"]:
        return f"{work.bundle} is another bundle"
    found = differences(bundle.path, bundle.manifest.files, cache=home() / "digests")
    return f"{work.bundle} was changed: {found[0]}" if found else None


def never(work: Work, result: Result) -> str | None:
    """Return None: nothing outside the record may change what the stage found."""
    return None


def facts_of(done: Done) -> Mapping[str, Any]:
    """Return the JSON object that a verb printed; {} for something else."""
    facts = done.facts
    return facts if isinstance(facts, Mapping) else {}


def required(work: Work, name: str, done: Done, begun: float) -> Mapping[str, Any]:
    """Return what a verb printed. Raises StageFailed, after noting the check, if it failed."""
    if done.code != 0:
        work.found(name, "failed", done.problem, begun)
        raise StageFailed(f"{name}: {done.problem}")
    return facts_of(done)


def judge(work: Work) -> None:
    """Raise StageFailed if a check has failed."""
    failed = [one for one in work.checks if one.outcome == "failed"]
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise StageFailed(f"{failed[0].name}: {failed[0].said}{more}")


def now() -> float:
    """Return the time on the clock that checks are timed by."""
    return time.perf_counter()
