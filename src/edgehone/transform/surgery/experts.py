"""Experts of a mixture removed: how much each is used is measured, then the least used are left out.

Every block keeps the same number of experts, as the configuration has one number for all; so the block that
uses its experts most evenly decides how many can go. The router loses the same rows, and a token whose expert
is gone goes to the next best that stays.
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
    from edgehone.backends.sessions import (
        WorkerJob,
    )
    from edgehone.formats.safetensors import Tensor

MEASURED = "measured.json"
_EXPERT = re.compile(r"(.*\blayers\.(\d+)\..*\bexperts\.)(\d+)(\..+)")
_ROUTER = re.compile(r".*\blayers\.(\d+)\.(?:mlp|block_sparse_moe)\.gate\.weight")
_COUNTS = ("num_local_experts", "num_experts")


def usage(job: WorkerJob) -> dict[str, Any]:
    """Count how the routers use the experts on the calibration ids, in the original's float32.

    inputs: model, calibration. Facts: `experts`, `per_token`, `tokens`, and by block (as text, JSON's keys)
    `counts` (times that each expert was among the chosen) and `mass` (its share of the block's gate weights).
    """
    import torch

    from edgehone.backends.pytorch.routing import recorded
    from edgehone.backends.pytorch.session import TorchSession

    torch.set_num_threads(job.threads)
    config = checkpoint.read_config(job.inputs["model"])
    experts = count_of(config)
    session = TorchSession(job.inputs["model"], "float32")
    chosen = windows(job.inputs["calibration"], config.get("max_position_embeddings") or LENGTH)
    counts: dict[int, Any] = {}
    mass: dict[int, Any] = {}
    with recorded(session.model) as seen, torch.inference_mode():
        for done, ids in enumerate(chosen):
            job.progress(done / len(chosen), "use of each expert")
            session.model.base_model(torch.tensor([list(ids)]), use_cache=False)
            for block, (numbers, weights) in seen.items():
                flat = numbers.flatten()
                ones = torch.bincount(flat, minlength=experts)
                weighed = torch.bincount(flat, weights.flatten().double(), minlength=experts)
                counts[block] = counts.get(block, 0) + ones
                mass[block] = mass.get(block, 0) + weighed
    facts = {
        "experts": experts,
        "per_token": int(config["num_experts_per_tok"]),
        "tokens": sum(map(len, chosen)),
        "counts": {str(block): counts[block].tolist() for block in sorted(counts)},
        "mass": {str(block): (mass[block] / mass[block].sum()).tolist() for block in sorted(mass)},
    }
    (job.out / MEASURED).write_text(json.dumps(facts), "utf-8")
    return facts


def count_of(config: Mapping[str, Any]) -> int:
    """The number of experts in each block. ModelError where config.json tells none."""
    for name in _COUNTS:
        if config.get(name):
            return int(config[name])
    raise ModelError(f"config.json has none of {', '.join(_COUNTS)}: the model is no mixture of experts")


def prune(job: WorkerJob) -> dict[str, Any]:
    """Write the checkpoint without its least used experts.

    args: `unused` (a share of the even one: experts whose gate mass is below it count as unused, and as many go
    as every block has unused) or `share` (of the experts, the least used of each block).
    inputs: model, measured (what `usage` wrote). Facts: `experts_dropped` (a block), `kept_experts` (by block,
    numbers of the original), `mass_dropped` (the largest share of a block's gate mass that goes), bytes,
    parameters, and the measured use; `nothing_to_gain`, and no files, where no expert can go.
    """
    source = job.inputs["model"]
    measured = json.loads((job.inputs["measured"] / MEASURED).read_text("utf-8"))
    kept = least_used(measured, job.args.get("unused"), job.args.get("share"))
    if not kept:
        return {"nothing_to_gain": _even(measured), **measured}
    config = checkpoint.read_config(source)
    left = measured["experts"] - len(next(iter(kept.values())))
    made = {name: value - left if name in _COUNTS else value for name, value in config.items()}
    written = checkpoint.rewrite(source, job.out, made, _without(kept))
    lost = max(1 - sum(measured["mass"][str(block)][i] for i in stay) for block, stay in kept.items())
    return {
        "experts_dropped": left,
        "kept_experts": {str(block): stay for block, stay in kept.items()},
        "mass_dropped": lost,
        **written,
        **measured,
    }


def least_used(
    measured: Mapping[str, Any], unused: float | None, share: float | None
) -> dict[int, list[int]]:
    """The experts that stay, by block; no block where none can go."""
    experts, per_token = int(measured["experts"]), int(measured["per_token"])
    mass: Mapping[str, Sequence[float]] = measured["mass"]
    if share is not None:
        going = int(experts * share)
    else:
        most = float(unused or 0.0) / experts
        going = min(sum(part <= most for part in block) for block in mass.values())
    going = min(going, experts - per_token)
    if going < 1:
        return {}
    kept = {}
    for block, parts in mass.items():
        order = sorted(range(experts), key=lambda i: parts[i])
        kept[int(block)] = sorted(order[going:])
    return kept


def _even(measured: Mapping[str, Any]) -> str:
    experts = int(measured["experts"])
    least = max(min(block) for block in measured["mass"].values()) * experts
    return (
        f"no expert can go: where the experts are used most evenly, the least used of {experts} has {least:.1%} "
        f"of an even share of the gate weights, and a token needs {measured['per_token']}"
    )


def _without(kept: Mapping[int, Sequence[int]]) -> checkpoint.Choose:
    place = {block: {old: new for new, old in enumerate(stay)} for block, stay in kept.items()}

    def choose(name: str, tensor: Tensor) -> Kept | None:
        if (found := _EXPERT.fullmatch(name)) and int(found[2]) in place:
            new = place[int(found[2])].get(int(found[3]))
            return None if new is None else Kept(f"{found[1]}{new}{found[4]}")
        if (found := _ROUTER.fullmatch(name)) and int(found[1]) in kept:
            return Kept(name, kept[int(found[1])])
        return Kept(name)

    return choose
