"""Expert pruning: measure how much each expert of a mixture is used, then remove the least used ones.

Every block keeps the same number of experts, because the configuration has a single number for all; so the block
that uses its experts most evenly limits how many can be removed. The router loses the same rows, and a token whose
expert was removed goes to the next best remaining one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgehone.backends.shared.calibration import LENGTH, windows
from edgehone.core.errors import ModelError
from edgehone.transform.surgery import checkpoint
from edgehone.transform.surgery.checkpoint import Kept

if TYPE_CHECKING:
    from edgehone.backends.sessions import WorkerJob
    from edgehone.formats.safetensors import Tensor

MEASURED = "measured.json"
_EXPERT = re.compile(r"(.*\blayers\.(\d+)\..*\bexperts\.)(\d+)(\..+)")
_ROUTER = re.compile(r".*\blayers\.(\d+)\.(?:mlp|block_sparse_moe)\.gate\.weight")
_COUNTS = ("num_local_experts", "num_experts")


def usage(job: WorkerJob) -> dict[str, Any]:
    """Count how often the routers choose each expert on the calibration ids, in the original's float32 (worker side).

    inputs: model, calibration. Returns `experts`, `per_token`, `tokens`, and by block (as a string, since JSON keys
    are) `counts` (how often each expert was chosen) and `mass` (its share of the block's gate weights).
    """
    import torch

    from edgehone.backends.pytorch.routing import recorded
    from edgehone.backends.pytorch.session import TorchSession

    torch.set_num_threads(job.threads)
    config = checkpoint.read_config(job.inputs["model"])
    experts = count_of(config)
    session = TorchSession(job.inputs["model"], "float32")
    texts = windows(job.inputs["calibration"], config.get("max_position_embeddings") or LENGTH)
    counts: dict[int, Any] = {}
    mass: dict[int, Any] = {}
    with recorded(session.model) as routed, torch.inference_mode():
        for done, ids in enumerate(texts):
            job.progress(done / len(texts), "use of each expert")
            session.model.base_model(torch.tensor([list(ids)]), use_cache=False)
            for block, (numbers, weights) in routed.items():
                flat = numbers.flatten()
                block_counts = torch.bincount(flat, minlength=experts)
                block_mass = torch.bincount(flat, weights.flatten().double(), minlength=experts)
                counts[block] = counts.get(block, 0) + block_counts
                mass[block] = mass.get(block, 0) + block_mass
    facts = {
        "experts": experts,
        "per_token": int(config["num_experts_per_tok"]),
        "tokens": sum(map(len, texts)),
        "counts": {str(block): counts[block].tolist() for block in sorted(counts)},
        "mass": {str(block): (mass[block] / mass[block].sum()).tolist() for block in sorted(mass)},
    }
    (job.out / MEASURED).write_text(json.dumps(facts), "utf-8")
    return facts


def count_of(config: Mapping[str, Any]) -> int:
    """Return the number of experts per block. Raises ModelError if config.json does not have it."""
    for name in _COUNTS:
        if config.get(name):
            return int(config[name])
    raise ModelError(f"config.json has none of {', '.join(_COUNTS)}: the model is not a mixture of experts")


def prune(job: WorkerJob) -> dict[str, Any]:
    """Write the checkpoint without its least used experts (worker side).

    args: either `unused`, a fraction of an even share (experts with less gate mass count as unused, and as many are
    removed per block as every block has unused), or `share`, the fraction of experts to remove per block. inputs:
    model, measured (what `usage` wrote).

    Returns `experts_dropped` (per block), `kept_experts` (by block, in the original's numbering), `mass_dropped`
    (the largest share of a block's gate mass that is removed), bytes, parameters, and the measured usage. If no
    expert can be removed, returns `nothing_to_gain` and writes no files.
    """
    source = job.inputs["model"]
    measured = json.loads((job.inputs["measured"] / MEASURED).read_text("utf-8"))
    kept = least_used(measured, job.args.get("unused"), job.args.get("share"))
    if not kept:
        return {"nothing_to_gain": _nothing_unused(measured), **measured}
    config = checkpoint.read_config(source)
    dropped = measured["experts"] - len(next(iter(kept.values())))
    pruned_config = {name: value - dropped if name in _COUNTS else value for name, value in config.items()}
    written = checkpoint.rewrite(source, job.out, pruned_config, _without(kept))
    mass_dropped = max(
        1 - sum(measured["mass"][str(block)][i] for i in remaining) for block, remaining in kept.items()
    )
    return {
        "experts_dropped": dropped,
        "kept_experts": {str(block): remaining for block, remaining in kept.items()},
        "mass_dropped": mass_dropped,
        **written,
        **measured,
    }


def least_used(
    measured: Mapping[str, Any], unused: float | None, share: float | None
) -> dict[int, list[int]]:
    """Return the experts to keep, by block; an empty dict if none can be removed."""
    experts, per_token = int(measured["experts"]), int(measured["per_token"])
    mass: Mapping[str, Sequence[float]] = measured["mass"]
    if share is not None:
        count = int(experts * share)
    else:
        limit = float(unused or 0.0) / experts
        count = min(sum(mass_share <= limit for mass_share in block) for block in mass.values())
    count = min(count, experts - per_token)
    if count < 1:
        return {}
    kept = {}
    for block, shares in mass.items():
        order = sorted(range(experts), key=lambda i: shares[i])
        kept[int(block)] = sorted(order[count:])
    return kept


def _nothing_unused(measured: Mapping[str, Any]) -> str:
    experts = int(measured["experts"])
    least = max(min(block) for block in measured["mass"].values()) * experts
    return (
        f"no expert can be removed: in the block that uses its experts most evenly, the least used of {experts} has "
        f"{least:.1%} of an even share of the gate weights, and a token needs {measured['per_token']} experts"
    )


def _without(kept: Mapping[int, Sequence[int]]) -> checkpoint.Choose:
    numbers = {block: {old: new for new, old in enumerate(remaining)} for block, remaining in kept.items()}

    def choose(name: str, tensor: Tensor) -> Kept | None:
        if (match := _EXPERT.fullmatch(name)) and int(match[2]) in numbers:
            new = numbers[int(match[2])].get(int(match[3]))
            return None if new is None else Kept(f"{match[1]}{new}{match[4]}")
        if (match := _ROUTER.fullmatch(name)) and int(match[1]) in kept:
            return Kept(name, kept[int(match[1])])
        return Kept(name)

    return choose
