"""Open a .pt2 archive (torch.export) without running code from it (worker side).

`edgehone.formats.pt2` lists what loading an archive could run, and refuses archives that hold any of it. Independently
of that list, pickles are loaded with `weights_only=True` here, and the guards' source is dropped.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgehone.core.errors import ModelError
from edgehone.formats import pt2


def load(path: Path) -> Any:
    """Return the torch.export.ExportedProgram in `path`.

    Raises ModelError for a file that is damaged or could run code when loaded.
    """
    pt2.check(path)
    import torch

    try:
        with _weights_only():
            program = torch.export.load(path)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} holds a pickle of more than tensors, which may be code: it is not loaded", hint=pt2.HINT
        ) from error
    program._guards_code = []
    return program


def input_shapes(program: Any) -> list[list[int]]:
    """Return the shapes of the user's inputs, in order; a dynamic dimension is -1."""
    names = set(program.graph_signature.user_inputs)
    placeholders = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in names]
    return [
        [size if isinstance(size, int) else -1 for size in node.meta["val"].shape] for node in placeholders
    ]


@contextmanager
def _weights_only() -> Iterator[None]:
    """Make every torch.load use `weights_only=True`, whatever its caller passes."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
