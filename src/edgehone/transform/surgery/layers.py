"""Layer dropping: measure which transformer blocks contribute least, remove them, and renumber the rest.

The influence of a block is 1 minus the cosine similarity of the hidden states before and after it, averaged over the
tokens of the calibration text (Men et al., "ShortGPT: Layers in Large Language Models are More Redundant Than You
Expect", 2024, arXiv:2403.03853, equation 1). The loss without each block is also measured, on fewer tokens, and it
decides, because it includes how later blocks react to the change.
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
# Windows of the calibration text. The loss uses fewer, because it is computed once per block.
_WINDOWS = 16
_LOSS_WINDOWS = 8
_NAME = re.compile(r"(.*\blayers\.)(\d+)(\..+)")
# Keys of config.json: lists with an entry per block, lists of block numbers, and counts from the first block on.
_PER_BLOCK = ("layer_types", "mlp_layer_types", "no_rope_layers")
_NUMBERS = ("mlp_only_layers",)
_COUNTS = ("max_window_layers", "first_k_dense_replace")


def importance(job: WorkerJob) -> dict[str, Any]:
    """Measure each block's contribution on the calibration ids, in the original's float32 (worker side).

    inputs: model, calibration. Returns `influence` (one per block), `loss` (nats per token of the whole model),
    `loss_without` (one per block), `tokens` (over which the influence is averaged), `loss_tokens`; or only
    `nothing_to_gain` if the blocks are of different kinds.
    """
    import torch

    from edgehone.backends.pytorch.session import TorchSession

    config = checkpoint.read_config(job.inputs["model"])
    if reason := alternating_blocks(config):
        return {"nothing_to_gain": reason}
    torch.set_num_threads(job.threads)
    session = TorchSession(job.inputs["model"], "float32")
    blocks = _blocks(session.model, int(config["num_hidden_layers"]))
    texts = windows(job.inputs["calibration"], config.get("max_position_embeddings") or LENGTH, _WINDOWS)
    with torch.inference_mode():
        influence = _influence(session.model, blocks, texts, job)
        loss_texts = texts[:: max(1, len(texts) // _LOSS_WINDOWS)][:_LOSS_WINDOWS]
        loss = _loss(session.model, loss_texts)
        loss_without = []
        for index, block in enumerate(blocks):
            job.progress(0.5 + 0.5 * index / len(blocks), f"without block {index}")
            handle = block.register_forward_hook(_skip, with_kwargs=True)
            loss_without.append(_loss(session.model, loss_texts))
            handle.remove()
    facts = {
        "influence": influence,
        "loss": loss,
        "loss_without": loss_without,
        "tokens": sum(map(len, texts)),
        "loss_tokens": sum(len(ids) - 1 for ids in loss_texts),
    }
    (job.out / MEASURED).write_text(json.dumps(facts), "utf-8")
    return facts


def alternating_blocks(config: Mapping[str, Any]) -> str | None:
    """Return why no block can be removed: block kinds alternate, and llama.cpp counts them from the first block on."""
    kinds = sorted(set(config.get("layer_types") or ()))
    if len(kinds) > 1:
        return (
            f"blocks of different kinds alternate ({', '.join(kinds)}): without one, the pattern would shift"
        )
    step = config.get("decoder_sparse_step") or 1
    if step > 1:
        return f"one in {step} blocks has experts: without one, the pattern would shift"
    return None


def _blocks(model: Any, count: int) -> Any:
    blocks = getattr(model.base_model, "layers", None)
    if blocks is None or len(blocks) != count:
        raise ModelError(f"{type(model).__name__} does not have its {count} blocks in an attribute `layers`")
    return blocks


def _influence(model: Any, blocks: Any, texts: Sequence[Sequence[int]], job: WorkerJob) -> list[float]:
    import torch

    sums, tokens = [0.0] * len(blocks), 0

    def note(index: int) -> Any:
        def hook(block: Any, args: Any, kwargs: Any, output: Any) -> None:
            hidden = _input_hidden(args, kwargs)
            output_hidden = output[0] if isinstance(output, tuple) else output
            similarity = torch.nn.functional.cosine_similarity(
                hidden.double(), output_hidden.double(), dim=-1
            )
            sums[index] += float((1 - similarity).sum())

        return hook

    handles = [b.register_forward_hook(note(i), with_kwargs=True) for i, b in enumerate(blocks)]
    for done, ids in enumerate(texts):
        job.progress(0.5 * done / len(texts), "influence of each block")
        model.base_model(torch.tensor([list(ids)]), use_cache=False)
        tokens += len(ids)
    for handle in handles:
        handle.remove()
    return [total / tokens for total in sums]


def _input_hidden(args: Any, kwargs: Mapping[str, Any]) -> Any:
    return args[0] if args else kwargs["hidden_states"]


def _skip(block: Any, args: Any, kwargs: Any, output: Any) -> Any:
    """Return a block's input in place of its output."""
    hidden = _input_hidden(args, kwargs)
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def _loss(model: Any, texts: Sequence[Sequence[int]]) -> float:
    import torch

    total, tokens = 0.0, 0
    for ids in texts:
        tokens_in = torch.tensor([list(ids)])
        logits = model(tokens_in, use_cache=False).logits[0, :-1].float()
        total += float(torch.nn.functional.cross_entropy(logits, tokens_in[0, 1:], reduction="sum"))
        tokens += len(ids) - 1
    return total / tokens


def drop(job: WorkerJob) -> dict[str, Any]:
    """Write the checkpoint without the `count` blocks whose removal costs the least loss (worker side).

    args: count. inputs: model, measured (what `importance` wrote). Returns `dropped`, `kept_layers` (block numbers
    of the original), bytes, parameters, and the measured `influence`, `loss` and `loss_without`. Raises ModelError
    if that many blocks cannot be removed.
    """
    source = job.inputs["model"]
    config = checkpoint.read_config(source)
    measured = json.loads((job.inputs["measured"] / MEASURED).read_text("utf-8"))
    dropped = least(measured["loss_without"], int(job.args["count"]))
    kept = [i for i in range(int(config["num_hidden_layers"])) if i not in dropped]
    facts = checkpoint.rewrite(source, job.out, shortened_config(config, kept), _renumber(kept))
    return {"dropped": dropped, "kept_layers": kept, **facts, **measured}


def least(loss_without: Sequence[float], count: int) -> list[int]:
    """Return the `count` blocks whose removal costs the least loss, in block order. At least two blocks must remain."""
    if not 0 < count <= len(loss_without) - 2:
        raise ModelError(f"{count} of {len(loss_without)} blocks cannot be dropped: at least two must remain")
    return sorted(sorted(range(len(loss_without)), key=lambda i: loss_without[i])[:count])


def _renumber(kept: Sequence[int]) -> checkpoint.Choose:
    numbers = {old: new for new, old in enumerate(kept)}

    def choose(name: str, tensor: Tensor) -> Kept | None:
        if not (match := _NAME.fullmatch(name)):
            return Kept(name)
        new = numbers.get(int(match[2]))
        return None if new is None else Kept(f"{match[1]}{new}{match[3]}")

    return choose


def shortened_config(config: Mapping[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """Return config.json for the remaining blocks: their number, and all values per block or by block number."""
    shortened = {**config, "num_hidden_layers": len(kept)}
    for name in _PER_BLOCK:
        if isinstance(shortened.get(name), list):
            shortened[name] = [shortened[name][i] for i in kept]
    for name in _NUMBERS:
        if shortened.get(name):
            shortened[name] = [new for new, old in enumerate(kept) if old in shortened[name]]
    for name in _COUNTS:
        if isinstance(shortened.get(name), int):
            shortened[name] = sum(old < shortened[name] for old in kept)
    return shortened
