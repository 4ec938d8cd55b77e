"""Functions that the surgery tests run in the pytorch backend's environment."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from edgehone.backends.pytorch import routing, session
from edgehone.backends.sessions import WorkerJob
from edgehone.transform.surgery import experts, layers


def skipped_and_dropped(job: WorkerJob) -> dict[str, Any]:
    """Measure, drop one block, and compare the new checkpoint's logits with the original's with that block skipped."""
    import numpy as np

    measured, shorter = job.out / "measured", job.out / "shorter"
    measured.mkdir()
    shorter.mkdir()
    told = layers.importance(replace(job, out=measured))
    inputs = {**job.inputs, "measured": measured}
    dropped = layers.drop(replace(job, args={"count": 1}, inputs=inputs, out=shorter))

    ids = [1, *range(20, 80)]
    whole = session.TorchSession(job.inputs["model"], "float32")
    untouched = np.concatenate(list(whole.score(ids)))
    for block in dropped["dropped"]:
        whole.model.base_model.layers[block].register_forward_hook(layers._skip, with_kwargs=True)
    # Loading raises an error if a tensor is missing.
    cut = session.TorchSession(shorter, "float32")
    wanted, got = (np.concatenate(list(each.score(ids))) for each in (whole, cut))
    return {
        "influence": told["influence"],
        "loss_without": told["loss_without"],
        "dropped": dropped["dropped"],
        "bytes": dropped["bytes"],
        "difference": float(np.abs(wanted - got).max()),
        "change": float(np.abs(wanted - untouched).max()),
        "blocks": len(cut.model.base_model.layers),
        "same_ids": cut.tokenize("a b") == whole.tokenize("a b"),
    }


def prune_unused(job: WorkerJob) -> dict[str, Any]:
    """Prune half of the experts, all of which `ids` does not use, and compare the logits before and after."""
    import numpy as np

    ids = [int(i) for i in job.args["ids"]]
    whole = session.TorchSession(job.inputs["model"], "float32")
    chosen = routing.routing(whole.model, ids)
    mass = {}
    for block, numbers in chosen.items():
        used = np.bincount(numbers.ravel(), minlength=8) / numbers.size
        mass[str(block)] = used.tolist()
    measured = {"experts": 8, "per_token": 2, "mass": mass}
    (job.out / experts.MEASURED).write_text(json.dumps(measured), "utf-8")
    (job.out / "pruned").mkdir()
    pruning_job = WorkerJob(
        {"share": 0.5}, {**job.inputs, "measured": job.out}, job.out / "pruned", None, 1, job.progress
    )
    facts = experts.prune(pruning_job)
    smaller = session.TorchSession(job.out / "pruned", "float32")
    after = routing.routing(smaller.model, ids)
    kept = facts["kept_experts"]
    wanted, got = (np.concatenate(list(each.score(ids))) for each in (whole, smaller))
    return {
        "difference": float(np.abs(wanted - got).max()),
        "same_experts": [
            bool((np.array(kept[str(block)])[after[block]] == numbers).all())
            for block, numbers in chosen.items()
        ],
        "left": facts["experts_dropped"],
        "mass_dropped": facts["mass_dropped"],
    }
