"""Add drift detection to the watchers of a server, and kept samples where the operator opted in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgehone.serve.drift import kept
from edgehone.serve.drift.kept import Keeper, KeepRules
from edgehone.serve.drift.model_watch import DriftRules
from edgehone.serve.drift.observer import DriftObserver
from edgehone.serve.model import Model
from edgehone.serve.watching import Watching


@dataclass(frozen=True)
class Rules:
    """How drift is watched, and which requests are kept (None: none)."""

    drift: DriftRules = field(default_factory=DriftRules)
    keep: KeepRules | None = None


def add_drift(watching: Watching, models: Mapping[str, Model], rules: Rules) -> DriftObserver:
    """Watch the models, which may change, for drift.

    Samples that an earlier server kept are removed, unless this one keeps them too.
    """
    observer = DriftObserver(models, watching.state, rules.drift, watching.say)
    watching.add(observer)
    watching.about["drift"] = observer.about
    watching.background.append(observer.run)
    watching.at_end.append(observer.end)
    if rules.keep is not None:
        keeper = Keeper(models, watching.state, rules.keep, watching.say)
        watching.observers.add(keeper)
        watching.about["keeping"] = keeper.about
        watching.about["kept_samples"] = keeper.count
        watching.background.append(keeper.run)
        watching.at_end.append(keeper.end)
    elif removed := kept.remove(watching.state):
        watching.say(f"{removed} files of kept samples were removed, since --keep-samples is not given")
    return observer
