"""The weight matrices whose sensitivity is measured, and the run of the original that gives the inputs of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.pytorch import streamed
from edgehone.backends.pytorch.streamed import Activations, LayerStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgehone.backends.sessions import WorkerJob


@dataclass
class Matrix:
    """A matrix being measured: `importance` is the mean square of each input, `squares` the sum of (gᵀ D x)².

    `block` is the number of its block, None for the embeddings and the head. `delta` is D while it is needed.
    """

    name: str
    kind: str
    module: Any
    block: int | None
    shape: tuple[int, int]
    importance: Any = None
    delta: Any = None
    squares: float = 0.0
    exact: float | None = None
    errors: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """The streamed model, the windows, and each block's inputs; the last entry holds the last block's outputs."""

    stream: LayerStream
    windows: Sequence[Sequence[int]]
    inputs: Sequence[Activations]
    folder: Path


def matrices_of(stream: LayerStream) -> list[Matrix]:
    """Return a model's embeddings, linear layers and head. Embeddings tied to the head count once."""
    import torch

    inputs, head = stream.embeddings, stream.head
    tied = head is not None and head.weight is inputs.weight
    places = {id(module): at for at, block in enumerate(stream.blocks) for module in block.modules()}
    found = []
    for name, module in stream.model.named_modules():
        if module is inputs:
            kind = "tied" if tied else "embedding"
        elif isinstance(module, torch.nn.Linear) and not (tied and module is head):
            kind = "head" if module is head else "linear"
        else:
            continue
        rows, columns = module.weight.shape
        found.append(Matrix(name, kind, module, places.get(id(module)), (rows, columns)))
    return found


@contextmanager
def hooks(pairs: Sequence[tuple[Any, Callable[..., Any]]]) -> Iterator[None]:
    """Register forward hooks for the duration of the context."""
    handles = [module.register_forward_hook(hook) for module, hook in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def run_forward(
    stream: LayerStream,
    chosen: Sequence[Sequence[int]],
    matrices: Sequence[Matrix],
    folder: Path,
    job: WorkerJob,
) -> Run:
    """Run the text through the model, keep each block's inputs, and set each matrix's importance.

    The importance is the mean square of each input, as in llama.cpp's importance matrix; ones for a lookup.
    """
    import torch

    def note(one: Matrix, inputs: Any) -> None:
        square = inputs.reshape(-1, inputs.shape[-1]).square().mean(0)
        one.importance = square if one.importance is None else one.importance + square

    def hook(one: Matrix) -> Callable[..., None]:
        return lambda module, args, output: note(one, args[0])

    with streamed.without_gradients():
        inputs = [stream.embed(chosen, folder / "0.npy")]
        for number in range(len(stream.blocks)):
            job.progress(0.3 * number / len(stream.blocks), "activations")
            inputs.append(Activations.create(folder / f"{number + 1}.npy", inputs[0].values.shape))
            pairs = [(one.module, hook(one)) for one in matrices if one.block == number]
            with stream.resident(number), hooks(pairs):
                for window in range(len(chosen)):
                    inputs[-1][window] = stream.run(number, inputs[-2][window])
        for one in matrices:
            if one.kind in ("head", "tied"):
                for window in range(len(chosen)):
                    note(one, stream.normalized(inputs[-1][window]))
            elif one.importance is None:
                one.importance = torch.ones(one.shape[1])
    return Run(stream, chosen, inputs, folder)
