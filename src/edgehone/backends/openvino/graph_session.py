"""A graph in IR, opened by OpenVINO (worker side)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from edgehone.backends.openvino.ir import MODEL, PORTS
from edgehone.backends.openvino.placement import CPU, device_properties
from edgehone.backends.openvino.session import common
from edgehone.core.errors import InputError, JobError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


class OpenVinoGraphSession:
    """A compiled graph whose inputs and outputs have the original's names."""

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], threads: int, extra: Mapping[str, Any] | None = None
    ) -> None:
        """Compile the graph. `extra` holds properties in addition to those that the settings give."""
        import openvino as ov

        options = device_properties(settings, common(settings, threads)) | dict(extra or {})
        self.request: Any = None
        self._core, self._device = ov.Core(), str(settings.get("device", CPU))
        graph = self._open(self._core, folder / MODEL, self._device, options)
        ports = json.loads((folder / PORTS).read_text("utf-8"))
        for name, port in zip(ports["inputs"] + ports["outputs"], graph.inputs + graph.outputs, strict=True):
            if name not in port.get_names():
                raise JobError(
                    f"the IR in {folder} has a port {'/'.join(port.get_names())} where {name} is expected"
                )
        self._inputs = dict(zip(ports["inputs"], graph.inputs, strict=True))
        self._outputs: list[str] = ports["outputs"]
        self._batch = fixed_batch(graph.inputs)

    def _open(self, core: Any, path: Path, device: str, options: Mapping[str, Any]) -> Any:
        """Compile the model and return the object that has the graph's ports."""
        compiled = core.compile_model(path, device, options)
        self.request = compiled.create_infer_request()
        return compiled

    def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Return all outputs by name. A graph with a fixed batch runs in batches of that size; the last one is padded.

        Raises JobError if `feeds` lacks an input of the graph or has one that the graph does not take.
        """
        import numpy as np

        if feeds.keys() != self._inputs.keys():
            raise JobError(f"the graph takes {', '.join(self._inputs)}, not {', '.join(feeds)}")
        if self._batch is None or all(array.shape[:1] == (self._batch,) for array in feeds.values()):
            return self._infer(feeds)
        parts = [self._infer(part) for part in split(feeds, self._batch)]
        rows = len(next(iter(feeds.values())))
        return {name: np.concatenate([part[name] for part in parts])[:rows] for name in self._outputs}

    def _infer(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        return self._infer_by(self.request, feeds)

    def _infer_by(self, request: Any, feeds: Arrays) -> dict[str, NDArray[Any]]:
        import numpy as np

        arrays = {
            # Unlike ascontiguousarray, this keeps a single number a single number.
            name: np.asarray(array, self._inputs[name].get_element_type().to_dtype(), order="C")
            for name, array in feeds.items()
        }
        try:
            results = request.infer(arrays)
        except Exception as error:
            cause = str(error).strip().rpartition("\n")[2]
            raise InputError(f"OpenVINO cannot run the graph on these inputs: {cause}") from error
        # Copies: the request writes its next results into the same memory.
        return {name: np.array(results[i]) for i, name in enumerate(self._outputs)}

    def device_bytes(self) -> int | None:
        """Return the bytes that this process has allocated on the GPU; None on other devices.

        GPU_MEMORY_STATISTICS maps each type of memory (usm_device, usm_host, cl_mem …) to bytes.
        """
        if not self._device.startswith("GPU"):
            return None
        sizes: Mapping[str, int] = self._core.get_property(self._device, "GPU_MEMORY_STATISTICS")
        return sum(sizes.values())

    def close(self) -> None:
        """Release the compiled graph."""
        self.request = None


class OpenVinoGraphPool(OpenVinoGraphSession):
    """A graph that several threads may run at once: one request per client, at most `threads` streams."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], threads: int, clients: int) -> None:
        parallel = {"hint": "THROUGHPUT", "streams": min(clients, threads)}
        super().__init__(folder, {**parallel, **settings}, threads)
        self._free: SimpleQueue[Any] = SimpleQueue()
        self._free.put(self.request)
        for _ in range(clients - 1):
            self._free.put(self.request.get_compiled_model().create_infer_request())

    def _infer(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        request = self._free.get()
        try:
            return self._infer_by(request, feeds)
        finally:
            self._free.put(request)

    def close(self) -> None:
        """Release the compiled graph."""
        super().close()
        self._free = SimpleQueue()


class OpenVinoStaticSession(OpenVinoGraphSession):
    """A graph on a device that takes fixed shapes only.

    It is compiled on the first inference, and again for every new input shape. In a measurement the warm-up request
    bears that cost.
    """

    compiled_for_shape = True

    def _open(self, core: Any, path: Path, device: str, options: Mapping[str, Any]) -> Any:
        self._model = core.read_model(path)
        self._compile = partial(core.compile_model, self._model, device, options)
        self._requests: dict[Any, Any] = {}
        return self._model

    def _infer(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        shapes = {name: array.shape for name, array in feeds.items()}
        key = tuple(sorted(shapes.items()))
        if key not in self._requests:
            self._model.reshape({name: list(shape) for name, shape in shapes.items()})
            self._requests[key] = self._compile().create_infer_request()
        return self._infer_by(self._requests[key], feeds)

    def close(self) -> None:
        """Release the compiled graphs."""
        super().close()
        self._requests.clear()


def fixed_batch(ports: Sequence[Any]) -> int | None:
    """Return the first size of all inputs of a graph if it is fixed and the same, else None."""
    if not all(len(port.get_partial_shape()) for port in ports):
        return None
    first = [port.get_partial_shape()[0] for port in ports]
    sizes = {dimension.get_length() for dimension in first if dimension.is_static}
    return sizes.pop() if len(sizes) == 1 and all(dimension.is_static for dimension in first) else None


def split(feeds: Arrays, batch: int | None) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the samples in parts of `batch` (None: all at once); the last sample is repeated to fill the last part."""
    import numpy as np

    rows = len(next(iter(feeds.values())))
    size = batch or max(rows, 1)
    for begin in range(0, rows, size):
        part = {name: array[begin : begin + size] for name, array in feeds.items()}
        short = size - len(next(iter(part.values())))
        if short and batch:
            part = {name: np.concatenate([a, np.repeat(a[-1:], short, 0)]) for name, a in part.items()}
        yield part
