"""Write a LoRA adapter as adapter.gguf beside the file of its base model (worker side).

llama.cpp computes W·x + scale · B·(A·x). What its converter does to the rows of W (a Llama's queries and keys are
permuted) is done to the rows of B. Scales by pattern and rsLoRA are multiplied into B, so that the file needs none.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.llamacpp.adapter import ADAPTER
from edgehone.backends.llamacpp.build import facts
from edgehone.backends.llamacpp.tools import ARTIFACT, toolchain_of
from edgehone.backends.sessions import WorkerJob
from edgehone.core.errors import JobError
from edgehone.formats.gguf import read_header
from edgehone.model.inspect import inspect
from edgehone.transform.adapters import arrays, config, merge
from edgehone.transform.adapters.config import WEIGHTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_BLOCK = re.compile(r"\.(\d+)\.")
_HINT = "leave out --keep-adapter: the adapter is then merged into the base"
# Columns of the test matrix that shows what the converter does to rows, and the largest relative difference.
_COLUMNS, _SAME = 8, 1e-5


def with_adapter(job: WorkerJob) -> dict[str, Any]:
    """Copy the base's file, and write the adapter beside it as adapter.gguf in float32.

    inputs: model (the built base), base, adapter (the folders that the user gave). Facts: those of the base's file,
    bytes of both, and adapter (the number of changed tensors). Raises JobError for a layer that llama.cpp stores in
    another way than row by row.
    """
    shutil.copyfile(job.inputs["model"] / ARTIFACT, job.out / ARTIFACT)
    count = _write(job, job.out / ADAPTER)
    found = facts(job.out / ARTIFACT)
    return {**found, "bytes": sum(path.stat().st_size for path in job.out.iterdir()), "adapter": count}


def _write(job: WorkerJob, out: Path) -> int:
    base, stated = inspect(job.inputs["base"]), config.read(job.inputs["adapter"])
    found = merge.check(stated, base)
    named = _Converter(job, base.path)
    import gguf  # on the path once the converter is imported
    import numpy as np

    writer = gguf.GGUFWriter(out, named.architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, 0.0)  # the scale is in B
    have = set(read_header(job.out / ARTIFACT).tensors)
    for tensor, change in sorted(found.changes.items()):
        a, b = (
            arrays.load(stated.folder / WEIGHTS, name, found.stored[name]) for name in (change.a, change.b)
        )
        name, rows = named.rows(tensor, b * stated.scale(change.module), a.shape[1])
        if name not in have:
            raise JobError(f"llama.cpp's file of the base has no tensor {name} for {tensor}", hint=_HINT)
        writer.add_tensor(f"{name}.lora_a", np.ascontiguousarray(a, np.float32))
        writer.add_tensor(f"{name}.lora_b", np.ascontiguousarray(rows, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return len(found.changes)


class _Converter:
    """llama.cpp's converter of the base's architecture, for the names and the rows of single tensors."""

    def __init__(self, job: WorkerJob, base: Path) -> None:
        script = toolchain_of(job).convert()
        sys.path[:0] = [str(script.parent), str(script.parent / "gguf-py")]
        import gguf
        from conversion import ModelBase, ModelType, get_model_architecture, get_model_class

        hparams = ModelBase.load_hparams(base, False)
        kind = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
        self._model = kind(
            base, gguf.LlamaFileType.ALL_F32, job.out / "unused.gguf", eager=True, hparams=hparams
        )
        self.architecture = gguf.MODEL_ARCH_NAMES[kind.model_arch]

    def rows(self, name: str, b: Floats, columns: int) -> tuple[str, Floats]:
        """Return a tensor's name in the file, and the rows of B in their order there.

        Raises JobError unless the converter only reorders rows: it is shown B and B·A of a random A.
        """
        import numpy as np

        a = np.random.default_rng(0).normal(size=(b.shape[1], min(columns, _COLUMNS)))
        found, rows = self._converted(name, b)
        also, product = self._converted(name, b @ a)
        scale = float(np.abs(product).max()) or 1.0
        if found != also or np.abs(rows @ a - product).max() > _SAME * scale:
            raise JobError(f"llama.cpp's converter changes more than the order of rows of {name}", hint=_HINT)
        return found, rows

    def _converted(self, name: str, array: Floats) -> tuple[str, Floats]:
        import torch

        block = _BLOCK.search(name)
        parts = list(
            self._model.modify_tensors(torch.from_numpy(array), name, int(block[1]) if block else None)
        )
        if len(parts) != 1 or tuple(parts[0][1].shape) != array.shape:
            raise JobError(
                f"llama.cpp's converter does not store {name} as one matrix of its own", hint=_HINT
            )
        return str(parts[0][0]), parts[0][1].numpy()
