"""Run a causal language model block by block, with one block's weights in memory (worker side).

transformers maps the weights of a checkpoint that is loaded in its stored dtype: they are pages of the file, which the
system drops when memory is short. A block becomes float32 while it is `resident`. All windows of the text pass through
it before the next one is loaded, so each weight is read once, and the activations between blocks lie in a file
(`Activations`).

What a block gets besides the hidden states (masks, positions) is recorded once for each length of window, by running
the model's own forward pass with blocks that do nothing. It must not depend on the text, else the model cannot be run
in this way.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.core.errors import EdgehoneError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The head is multiplied in parts of at most so many bytes in float32.
_HEAD_BYTES = 256 << 20


class NotStreamable(EdgehoneError):
    """The model cannot be run block by block; the message says why."""


@dataclass(frozen=True)
class Activations:
    """Hidden states of windows in a file: float32 [windows, length, hidden]."""

    values: NDArray[np.float32]
    path: Path

    @classmethod
    def create(cls, path: Path, shape: tuple[int, ...]) -> Activations:
        """Create the file."""
        import numpy as np

        path.parent.mkdir(parents=True, exist_ok=True)
        return cls(np.lib.format.open_memmap(path, "w+", "<f4", shape), path)

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.values)

    def __getitem__(self, window: int) -> Any:
        """Return the hidden states of a window as a tensor [1, length, hidden], which shares the file's memory."""
        import torch

        return torch.from_numpy(self.values[window][None])

    def __setitem__(self, window: int, hidden: Any) -> None:
        """Replace the hidden states of a window."""
        self.values[window] = hidden[0].detach().numpy()

    def remove(self) -> None:
        """Delete the file. Its pages are freed with the last tensor that shares them."""
        self.path.unlink(missing_ok=True)


class LayerStream:
    """A causal language model whose blocks are float32 one at a time.

    `model` is transformers' model with mapped weights (`weights.load_weights` with the stored dtype). It is changed:
    everything but the blocks, the embeddings and the head becomes float32, and the latter two compute in float32.
    Raises NotStreamable if its blocks are not one list.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.body = model, model.base_model
        self.blocks = _blocks(model)
        self.embeddings, self.head = model.get_input_embeddings(), model.get_output_embeddings()
        self._calls: dict[int, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {}
        self._in_tuples = False
        self._output: Any = None
        self._stored = {"embeddings": self.embeddings.weight.data, "head": self.head.weight.data}
        # Added to the weights of the embeddings or the head where they are used; of their shape, in any dtype.
        self.changes: dict[str, Any] = {}
        _make_float(model, {id(one) for block in self.blocks for one in block.parameters()})
        self._float_embeddings()
        self.head.forward = self._head

    @property
    def hidden(self) -> int:
        """The width of the hidden states."""
        return int(self._stored["embeddings"].shape[1])

    def _float_embeddings(self) -> None:
        """Let the embeddings compute in float32 with the rows of the ids at hand only."""
        import torch

        embeddings, stored = self.embeddings, self._stored["embeddings"]
        embeddings.padding_idx = None  # it matters for gradients only, and must be a row

        def only_used(module: Any, args: Any) -> Any:
            used, places = torch.unique(args[0], return_inverse=True)
            module.weight.data = _part(stored, self.changes.get("embeddings"), used)
            return (places,)

        def restore(module: Any, args: Any, output: Any) -> None:
            module.weight.data = stored

        embeddings.register_forward_pre_hook(only_used)
        embeddings.register_forward_hook(restore)

    def _head(self, hidden: Any) -> Any:
        """Multiply by the head's weights, which become float32 in parts, in the backward pass too."""
        bias = getattr(self.head, "bias", None)
        logits = _product()(hidden, self._stored["head"], self.changes.get("head"))
        return logits if bias is None else logits + bias.float()

    @contextmanager
    def resident(self, number: int) -> Iterator[Any]:
        """Yield a block with float32 weights. Afterwards it has its stored ones again."""
        import torch

        block = self.blocks[number]
        stored = [(one, one.data) for one in block.parameters()]
        for one, values in stored:
            one.data = values.to(torch.float32, copy=True)
        try:
            yield block
        finally:
            for one, values in stored:
                one.data = values

    def embed(self, windows: Sequence[Sequence[int]], path: Path) -> Activations:
        """Return the first block's inputs for windows of equal length, in a new file.

        Raises NotStreamable if the blocks need more than their predecessor's output and what is the same for all texts.
        """
        activations = Activations.create(path, (len(windows), len(windows[0]), self.hidden))
        for at, ids in enumerate(windows):
            activations[at] = self.embedded(ids)
        return activations

    def run(self, number: int, hidden: Any) -> Any:
        """Return a resident block's output for hidden states [1, length, hidden] that `embed` knows the length of."""
        args, kwargs = self._calls[hidden.shape[1]][number]
        output = self.blocks[number](hidden, *args, **kwargs)
        return output[0] if isinstance(output, tuple) else output

    def normalized(self, hidden: Any) -> Any:
        """Return what the head gets, given the last block's output [1, length, hidden]."""
        import torch

        with self._stubs(lambda *_, **__: hidden):
            ids = torch.zeros((1, hidden.shape[1]), dtype=torch.long)
            self._output = self.body(ids, use_cache=False)
            return self._output.last_hidden_state

    def logits(self, normalized: Any) -> Any:
        """Return the logits of the model's own head, with its scaling and capping, for what `normalized` returned."""
        import torch

        body, output = self.body, type(self._output)(**{**self._output, "last_hidden_state": normalized})
        calls: list[bool] = []

        def forward(*_: Any, **__: Any) -> Any:
            calls.append(True)
            return output

        layers, body.forward = body.forward, forward
        try:
            ids = torch.zeros((1, normalized.shape[1]), dtype=torch.long)
            found = self.model(ids, use_cache=False).logits
            if not calls:  # OPT's head calls a part of the body
                raise NotStreamable("its head does not follow its body")
            return found
        finally:
            body.forward = layers

    def embedded(self, ids: Sequence[int]) -> Any:
        """Return the first block's input for a window, and keep what each block gets besides hidden states.

        Raises NotStreamable as `embed` does.
        """
        import torch

        calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        seen: list[Any] = []

        def note(number: int, hidden: Any, *args: Any, **kwargs: Any) -> Any:
            if number != len(calls) or (seen and hidden is not seen[-1]):
                raise NotStreamable("its blocks do not follow each other")
            calls.append((args, kwargs))
            seen.append(hidden)
            return hidden

        inputs = torch.tensor([list(ids)])
        try:
            self._run_body(inputs, note)
        except (NotStreamable, AttributeError, IndexError, TypeError, RuntimeError):
            if self._calls or self._in_tuples:
                raise
            self._in_tuples = True  # the blocks of this architecture return tuples
            calls.clear()
            seen.clear()
            self._run_body(inputs, note)
        if len(calls) != len(self.blocks):
            raise NotStreamable(f"{len(calls)} of its {len(self.blocks)} blocks are run")
        known = self._calls.setdefault(len(ids), calls)
        if known is not calls and not _same(known, calls):
            raise NotStreamable("its blocks read more of the text than the hidden states")
        return seen[0]

    def _run_body(self, inputs: Any, note: Callable[..., Any]) -> None:
        with self._stubs(note):
            self.body(inputs, use_cache=False)

    @contextmanager
    def _stubs(self, each: Callable[..., Any]) -> Iterator[None]:
        """Let every block return `each(number, hidden, …)` instead of computing."""

        def stub(number: int) -> Callable[..., Any]:
            def forward(hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
                found = each(number, hidden_states, *args, **kwargs)
                return (found,) if self._in_tuples else found

            return forward

        for number, block in enumerate(self.blocks):
            block.forward = stub(number)
        try:
            yield
        finally:
            for block in self.blocks:
                del block.forward


def _part(weight: Any, change: Any, rows: Any) -> Any:
    """Return some rows of a matrix in float32, with the change if there is one."""
    part = weight[rows].float()
    return part if change is None else part + change[rows].float()


def _product() -> Any:
    """Return a function of activations, a stored matrix and a change of it: x Wᵀ, of which only x has a gradient."""
    import torch

    def parts(weight: Any) -> list[slice]:
        rows = max(1, _HEAD_BYTES // (4 * weight.shape[1]))
        return [slice(at, at + rows) for at in range(0, len(weight), rows)]

    class Product(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, inputs: Any, weight: Any, change: Any) -> Any:
            ctx.weight, ctx.change = weight, change
            found = [inputs @ _part(weight, change, rows).T for rows in parts(weight)]
            return found[0] if len(found) == 1 else torch.cat(found, -1)

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            found = [gradient[..., rows] @ _part(ctx.weight, ctx.change, rows) for rows in parts(ctx.weight)]
            return sum(found[1:], found[0]), None, None

    return Product.apply


def _blocks(model: Any) -> list[Any]:
    """Return the model's blocks. Raises NotStreamable."""
    import torch

    count = model.config.get_text_config().num_hidden_layers
    lists = [one for one in model.base_model.modules() if isinstance(one, torch.nn.ModuleList)]
    for one in lists:
        if len(one) == count:
            return list(one)
    raise NotStreamable(f"{type(model).__name__} has no list of its {count} blocks")


def _make_float(model: Any, blocks: set[int]) -> None:
    """Make the parameters float32 that are neither in a block nor in the embeddings or the head."""
    apart = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)} | blocks
    for one in model.parameters():
        one.requires_grad_(False)
        if id(one) not in apart:
            one.data = one.data.float()


def _same(one: Any, other: Any) -> bool:
    """Compare what blocks got: nested lists, tuples and dicts of tensors and plain values."""
    import torch

    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return bool(torch.equal(one, other))
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return type(one) is type(other) and bool(one == other)


def open_stream(folder: Path) -> LayerStream:
    """Open the checkpoint in a folder. Raises NotStreamable, and ModelError for weights that cannot be loaded."""
    from transformers import AutoModelForCausalLM

    from edgehone.backends.pytorch.weights import load_weights

    if "vision_config" in json.loads((folder / "config.json").read_text("utf-8")):
        raise NotStreamable("it reads pictures, too")
    stream = LayerStream(load_weights(AutoModelForCausalLM, folder, "stored"))
    with without_gradients():  # refuses what cannot be streamed before anything is computed
        stream.embedded([1, 0])
        stream.logits(stream.normalized(stream.embedded([0, 1])))
    return stream


@contextlib.contextmanager
def without_gradients() -> Iterator[None]:
    """Compute without gradients, in tensors that may be changed in place afterwards."""
    import torch

    with torch.no_grad():
        yield
