"""An ONNX graph opened by ONNX Runtime (worker side): for originals and for Olive's builds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.onnxruntime.devices import named
from edgehone.core.errors import InputError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_DTYPES = {
    "float": "float32", "double": "float64", "float16": "float16", "bool": "bool",
    **{name: name for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")},
}  # fmt: skip


class OrtSession:
    """A graph whose inputs are checked before it runs.

    settings: device (the id of a provider in onnxruntime_providers.toml; else the CPU), graph_optimization ("disabled",
    "basic", "extended", "all": the default), intra_op_threads (else `threads`), inter_op_threads, execution_mode
    ("sequential", the default for one of these, or "parallel"), spinning (whether threads that wait for work keep their
    core busy; the default), arena (whether memory is kept for the next run; the default), profile (where the operators'
    times go, a path without an ending). ModelError for a graph that
    cannot be opened.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], threads: int) -> None:
        # Read when ONNX Runtime starts: its own function comes too late to keep a device id off the disk.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime

        try:
            self._session = onnxruntime.InferenceSession(
                str(path),
                session_options(settings, threads),
                providers=named(str(settings.get("device", "CPU"))),
            )
        except Exception as error:
            raise ModelError(f"ONNX Runtime cannot open {path.name}: {_cause(error)}") from error
        self._inputs = {one.name: one for one in self._session.get_inputs()}
        self._outputs = [one.name for one in self._session.get_outputs()]
        for one in (*self._inputs.values(), *self._session.get_outputs()):
            if _dtype(one.type) is None:
                raise ModelError(
                    f"'{one.name}' of {path.name} is a {one.type}: only tensors of numbers can be compared",
                    hint="export it without maps, sequences and strings (sklearn-onnx: zipmap=False)",
                )
        firsts = {one.shape[0] for one in self._inputs.values() if one.shape}
        # A batch that the graph fixes; with any other first dimension the caller decides.
        self._batch = firsts.pop() if len(firsts) == 1 else None

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All outputs by name. A graph of a fixed batch is run as often as the samples need.

        Raises InputError for inputs of another name, dtype or shape than the graph's.
        """
        import numpy as np

        given = dict(feeds)
        self._check(given)
        batch, rows = self._batch, {len(array) for array in given.values() if array.ndim}
        if not isinstance(batch, int) or rows == {batch}:
            return dict(zip(self._outputs, self._run(given), strict=True))
        if len(rows) != 1 or max(rows) % batch:
            counts = ", ".join(map(str, sorted(rows)))
            raise InputError(
                f"the graph takes batches of exactly {batch} samples; {counts} were given",
                hint="give a multiple of that, or export the model with a dynamic batch",
            )
        parts = [
            self._run({name: array[begin : begin + batch] for name, array in given.items()})
            for begin in range(0, rows.pop(), batch)
        ]
        return {
            name: np.concatenate(made)
            for name, made in zip(self._outputs, zip(*parts, strict=True), strict=True)
        }

    def _run(self, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            made: list[NDArray[Any]] = self._session.run(None, feeds)
        except Exception as error:
            raise InputError(f"ONNX Runtime cannot run the graph on these inputs: {_cause(error)}") from error
        return made

    def _check(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        lacking, strange = (
            sorted(self._inputs.keys() - feeds.keys()),
            sorted(feeds.keys() - self._inputs.keys()),
        )
        if lacking or strange:
            wanted = ", ".join(map(_told, self._inputs.values()))
            words = [f"lack {', '.join(lacking)}"] if lacking else []
            words += [f"have {', '.join(strange)}, which it does not take"] if strange else []
            raise InputError(
                f"the samples {' and '.join(words)}; the graph's inputs are {wanted}",
                hint="name the arrays of the samples as the graph names its inputs",
            )
        for name, array in feeds.items():
            wanted = self._inputs[name]
            fixed = [
                size if at else None for at, size in enumerate(wanted.shape)
            ]  # the batch is seen to in `run`
            fits = len(fixed) == array.ndim and all(
                size == given or not isinstance(size, int)
                for size, given in zip(fixed, array.shape, strict=True)
            )
            if array.dtype != _dtype(wanted.type) or not fits:
                raise InputError(
                    f"the graph takes {_told(wanted)}; the samples give {array.dtype} {list(array.shape)}",
                    hint=f"save '{name}' with that dtype and rank, samples first",
                )

    def end_profile(self) -> Path:
        """Write the profile of all runs so far; its file. For a session with the setting `profile`."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Give the weights' memory back."""
        del self._session


def session_options(settings: Mapping[str, Any], threads: int) -> Any:
    """ONNX Runtime's SessionOptions for the settings of `OrtSession`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    level = _LEVELS[settings.get("graph_optimization", "all")]
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.intra_op_num_threads = int(settings.get("intra_op_threads", threads))
    options.inter_op_num_threads = int(settings.get("inter_op_threads", 1))
    # Branches side by side need somewhere to run.
    branching = settings.get("inter_op_threads", 1) > 1
    if settings.get("execution_mode", "parallel" if branching else "sequential") == "parallel":
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    if not settings.get("spinning", True):
        for scope in ("intra_op", "inter_op"):
            options.add_session_config_entry(f"session.{scope}.allow_spinning", "0")
    options.enable_cpu_mem_arena = bool(settings.get("arena", True))
    if prefix := settings.get("profile"):
        options.enable_profiling, options.profile_file_prefix = True, prefix
    options.log_severity_level = 3  # its warnings on what it optimises are noise to a person
    return options


def _dtype(kind: str) -> str | None:
    """numpy's name of what ONNX Runtime calls "tensor(float)"; None for what numpy cannot hold."""
    inner = kind.removeprefix("tensor(").removesuffix(")")
    return _DTYPES.get(inner) if kind.startswith("tensor(") else None


def _told(one: Any) -> str:
    shape = ", ".join("?" if size is None else str(size) for size in one.shape)
    return f"'{one.name}' {_dtype(one.type)} [{shape}]"


def _cause(error: Exception) -> str:
    """ONNX Runtime's own words, less its error code and the place in its sources."""
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    words = said.split(" : ", 3)[-1] if said.startswith("[ONNXRuntimeError]") else said
    return words.strip()
