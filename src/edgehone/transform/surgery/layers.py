"""Blocks removed: which ones do least is measured, then they are left out and the rest is numbered anew.

A block's influence is 1 minus the cosine similarity of the hidden states before and after it, averaged over
the tokens of the calibration text (Men et al., "ShortGPT: Layers in Large Language Models are More Redundant
Than You Expect", 2024, arXiv:2403.03853, equation 1). What the loss becomes without each block is measured
beside it, on fewer tokens, and is what decides: it also sees what later blocks make of the change.
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
# Of the calibration text for the influence. Each block is left out once for the loss: fewer there.
_WINDOWS = 16
_LOSS_WINDOWS = 8
_NAME = re.compile(r"(.*\blayers\.)(\d+)(\..+)")
# Lists in config.json with an entry for each block, with the numbers of some, and counts from the first block on.
_PER_BLOCK = ("layer_types", "mlp_layer_types", "no_rope_layers")
_NUMBERS = ("mlp_only_layers",)
_COUNTS = ("max_window_layers", "first_k_dense_replace")


def importance(job: WorkerJob) -> dict[str, Any]:
    """Measure what each block does on the calibration ids; in the original's float32.

    inputs: model, calibration. Facts: `influence` (one a block), `loss` (nats a token of the whole model),
    `loss_without` (one a block), `tokens` (that the influence is the mean of), `loss_tokens`; or `nothing_to_gain`
    alone, where the blocks are of several kinds.
    """
    import torch

    from edgehone.backends.pytorch.session import TorchSession

    config = checkpoint.read_config(job.inputs["model"])
    if reason := unlike(config):
        return {"nothing_to_gain": reason}
    torch.set_num_threads(job.threads)
    session = TorchSession(job.inputs["model"], "float32")
    blocks = _blocks(session.model, int(config["num_hidden_layers"]))
    chosen = windows(job.inputs["calibration"], config.get("max_position_embeddings") or LENGTH, _WINDOWS)
    with torch.inference_mode():
        influence = _influence(session.model, blocks, chosen, job)
        few = chosen[:: max(1, len(chosen) // _LOSS_WINDOWS)][:_LOSS_WINDOWS]
        loss = _loss(session.model, few)
        without = []
        for index, block in enumerate(blocks):
            job.progress(0.5 + 0.5 * index / len(blocks), f"without block {index}")
            handle = block.register_forward_hook(_skip, with_kwargs=True)
            without.append(_loss(session.model, few))
            handle.remove()
    facts = {
        "influence": influence,
        "loss": loss,
        "loss_without": without,
        "tokens": sum(map(len, chosen)),
        "loss_tokens": sum(len(ids) - 1 for ids in few),
    }
    (job.out / MEASURED).write_text(json.dumps(facts), "utf-8")
    return facts


def unlike(config: Mapping[str, Any]) -> str | None:
    """Why no block can go: kinds of blocks that take turns, which llama.cpp counts from the first block on."""
    kinds = sorted(set(config.get("layer_types") or ()))
    if len(kinds) > 1:
        return f"blocks of several kinds take turns ({', '.join(kinds)}): with one gone they would be out of step"
    step = config.get("decoder_sparse_step") or 1
    if step > 1:
        return f"every {step} blocks one has experts: with one gone they would be out of step"
    return None


def _blocks(model: Any, count: int) -> Any:
    blocks = getattr(model.base_model, "layers", None)
    if blocks is None or len(blocks) != count:
        raise ModelError(f"{type(model).__name__} keeps its {count} blocks elsewhere than in `layers`")
    return blocks


def _influence(model: Any, blocks: Any, chosen: Sequence[Sequence[int]], job: WorkerJob) -> list[float]:
    import torch

    sums, tokens = [0.0] * len(blocks), 0

    def note(index: int) -> Any:
        def hook(block: Any, args: Any, kwargs: Any, output: Any) -> None:
            before, after = _before(args, kwargs), output[0] if isinstance(output, tuple) else output
            similar = torch.nn.functional.cosine_similarity(before.double(), after.double(), dim=-1)
            sums[index] += float((1 - similar).sum())

        return hook

    handles = [b.register_forward_hook(note(i), with_kwargs=True) for i, b in enumerate(blocks)]
    for done, ids in enumerate(chosen):
        job.progress(0.5 * done / len(chosen), "influence of each block")
        model.base_model(torch.tensor([list(ids)]), use_cache=False)
        tokens += len(ids)
    for handle in handles:
        handle.remove()
    return [total / tokens for total in sums]


def _before(args: Any, kwargs: Mapping[str, Any]) -> Any:
    return args[0] if args else kwargs["hidden_states"]


def _skip(block: Any, args: Any, kwargs: Any, output: Any) -> Any:
    """Put a block's input in place of its output."""
    before = _before(args, kwargs)
    return (before, *output[1:]) if isinstance(output, tuple) else before


def _loss(model: Any, chosen: Sequence[Sequence[int]]) -> float:
    import torch

    total, tokens = 0.0, 0
    for ids in chosen:
        given = torch.tensor([list(ids)])
        logits = model(given, use_cache=False).logits[0, :-1].float()
        total += float(torch.nn.functional.cross_entropy(logits, given[0, 1:], reduction="sum"))
        tokens += len(ids) - 1
    return total / tokens


def drop(job: WorkerJob) -> dict[str, Any]:
    """Write the checkpoint without the `count` blocks whose absence costs the least loss.

    args: count. inputs: model, measured (what `importance` wrote).
    Facts: `dropped`, `kept_layers` (block numbers of the original), bytes, parameters, and the measured
    `influence`, `loss`, `loss_without` that decided. Raises ModelError where that many cannot go.
    """
    source = job.inputs["model"]
    config = checkpoint.read_config(source)
    measured = json.loads((job.inputs["measured"] / MEASURED).read_text("utf-8"))
    dropped = least(measured["loss_without"], int(job.args["count"]))
    kept = [i for i in range(int(config["num_hidden_layers"])) if i not in dropped]
    facts = checkpoint.rewrite(source, job.out, fewer(config, kept), _renumber(kept))
    return {"dropped": dropped, "kept_layers": kept, **facts, **measured}


def least(loss_without: Sequence[float], count: int) -> list[int]:
    """The `count` blocks whose absence costs least, in order of their place; at least two blocks must stay."""
    if not 0 < count <= len(loss_without) - 2:
        raise ModelError(f"{count} of {len(loss_without)} blocks cannot be dropped: at least two must stay")
    return sorted(sorted(range(len(loss_without)), key=lambda i: loss_without[i])[:count])


def _renumber(kept: Sequence[int]) -> checkpoint.Choose:
    place = {old: new for new, old in enumerate(kept)}

    def choose(name: str, tensor: Tensor) -> Kept | None:
        if not (found := _NAME.fullmatch(name)):
            return Kept(name)
        new = place.get(int(found[2]))
        return None if new is None else Kept(f"{found[1]}{new}{found[3]}")

    return choose


def fewer(config: Mapping[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """config.json for the blocks that stay: how many, and all that is told of each or by number."""
    made = {**config, "num_hidden_layers": len(kept)}
    for name in _PER_BLOCK:
        if isinstance(made.get(name), list):
            made[name] = [made[name][i] for i in kept]
    for name in _NUMBERS:
        if made.get(name):
            made[name] = [new for new, old in enumerate(kept) if old in made[name]]
    for name in _COUNTS:
        if isinstance(made.get(name), int):
            made[name] = sum(old < made[name] for old in kept)
    return made
