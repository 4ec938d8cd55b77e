"""Find another bundle of the same model: the next one of the frontier that is faster, smaller or better, or the last.

Bundles are compared by the figures of the run that made the served one, if it measured both; else by their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from edgehone.bundle.read import Bundle, read
from edgehone.bundle.schema import MANIFEST
from edgehone.core.errors import EdgehoneError, InputError
from edgehone.decision.decision import Candidate
from edgehone.operate.actions import serving
from edgehone.operate.actions.plan import Case, Plan
from edgehone.operate.remedies import Remedy

# A figure must be better by this share: single processes differ by less without any change.
LEAST = 0.03
_LOWER = {"faster": "workload_latency_ms", "smaller": "peak_memory_bytes", "better": "kl_mean"}
# Figures of graphs, which have no divergence; higher is better.
_QUALITY = "accuracy_kept"


def plan(remedy: Remedy, case: Case) -> Plan | str:
    """Plan to serve another bundle; or return why there is none."""
    # A change that someone has just made is undone in any case.
    if remedy.choose in ("better", "previous") and not remedy.causes and not case.can_compare:
        return "nothing would tell whether it is better: send labels of answers (POST /v1/feedback)"
    if remedy.choose == "previous":
        return _previous(case)
    served = read(case.look.models[case.model]["change"]["path"])
    found, left = others(served, case.bundles)
    chosen = next_one(served, found, str(remedy.choose))
    if chosen is None:
        why = f" ({'; '.join(left)})" if left else ""
        looked = "no other bundle of the model is known: --bundles" if not found else "none"
        return f"{looked if not found else f'none of {len(found)} other bundles is {remedy.choose}'}{why}"
    return serving.bundle(
        chosen.path, case, f"{chosen.path} ({_key(chosen)}) instead of {served.path} ({_key(served)})"
    )


def others(served: Bundle, folders: Sequence[Path]) -> tuple[list[Bundle], list[str]]:
    """Return the bundles in folders that may be served instead of a bundle, and why others may not."""
    found, left = list[Bundle](), list[str]()
    for path in _folders(folders):
        if path.resolve() == served.path.resolve():
            continue
        try:
            one = read(path)
        except EdgehoneError as error:
            left.append(error.message)
            continue
        if one.manifest.model.get("digest") != served.manifest.model.get("digest"):
            left.append(f"{path} is of another model")
        elif not one.manifest.approved:
            left.append(f"{path} does not pass every gate")
        else:
            found.append(one)
    return found, left


def next_one(served: Bundle, found: Sequence[Bundle], choose: str) -> Bundle | None:
    """Return the bundle whose figure is the next better one; None if there is none."""
    own = _candidate(served, served)
    better = [
        (gain, index)
        for index, one in enumerate(found)
        if (gain := _gain(own, _candidate(one, served), choose))
    ]
    return found[min(better)[1]] if better else None


def _gain(own: Candidate, other: Candidate, choose: str) -> float | None:
    """Return by which share a figure is better; None if it is not."""
    name = _LOWER[choose]
    was, now = own.figure(name).value, other.figure(name).value
    if choose == "better" and (was is None or now is None):
        was, now = own.figure(_QUALITY).value, other.figure(_QUALITY).value
        was, now = (None if was is None else 1 - was), (None if now is None else 1 - now)
    if was is None or now is None or not was:
        return None
    gain = 1 - now / was
    return gain if gain > LEAST else None


def _candidate(bundle: Bundle, served: Bundle) -> Candidate:
    """Return the candidate of a bundle, as the run of the served one measured it, if it did."""
    for decision in (served.decision, bundle.decision):
        try:
            one = decision.candidate(_key(bundle))
        except InputError:
            continue
        if one.status == "ok":
            return one
    return bundle.decision.candidate(_key(bundle))


def _key(bundle: Bundle) -> str:
    return f"{bundle.manifest.recipe['backend']}/{bundle.manifest.recipe['name']}"


def _folders(given: Sequence[Path]) -> Iterator[Path]:
    """Yield the bundles that are given, and those within folders that are given."""
    for path in given:
        if (path / MANIFEST).is_file():
            yield path
        elif path.is_dir():
            yield from sorted(one for one in path.iterdir() if (one / MANIFEST).is_file())


def _previous(case: Case) -> Plan | str:
    """Plan what was served before someone changed it, else the version before in the registry."""
    now = case.look.models[case.model]["change"]
    ways = [body for _, body, _ in case.journal.ways(case.model)]
    earlier = [body for body in ways if not serving.same(body, now)]
    if earlier and ways and serving.same(ways[-1], now):
        body = earlier[-1]
        path = Path(body["path"])
        if (path / MANIFEST).is_file():
            return serving.bundle(path, case, f"{path} as it was served before", body)
        return f"what was served before is gone: {path}"
    found = case.previous(case.model)
    if isinstance(found, str):
        return found
    return serving.bundle(found, case, f"{found}, the version before in the registry")
