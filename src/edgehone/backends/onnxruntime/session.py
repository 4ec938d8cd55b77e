"""An ONNX graph opened by ONNX Runtime (worker side), for originals and for Olive's builds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.onnxruntime.devices import session_providers
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

    settings: device (the id of a provider in providers.toml; default: the CPU), graph_optimization ("disabled",
    "basic", "extended", "all"; default: "all"), intra_op_threads (default: `threads`), inter_op_threads (default:
    1), execution_mode ("sequential" or "parallel"; default: "parallel" with several inter_op_threads), spinning
    (whether waiting threads keep their core busy; default: true), arena (whether memory is kept for the next run;
    default: true), profile (path prefix of the profiler's file). Raises ModelError if the graph cannot be opened.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], threads: int) -> None:
        # Read on import. ONNX Runtime's own function runs too late: by then a device id has been written to disk.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime

        try:
            self._session = onnxruntime.InferenceSession(
                str(path),
                session_options(settings, threads),
                providers=session_providers(str(settings.get("device", "CPU"))),
            )
        except Exception as error:
            raise ModelError(f"ONNX Runtime cannot open {path.name}: {_cause(error)}") from error
        self._inputs = {one.name: one for one in self._session.get_inputs()}
        self._outputs = [one.name for one in self._session.get_outputs()]
        for one in (*self._inputs.values(), *self._session.get_outputs()):
            if _dtype(one.type) is None:
                raise ModelError(
                    f"'{one.name}' of {path.name} is a {one.type}: only numeric tensors can be compared",
                    hint="export the model without maps, sequences and strings (sklearn-onnx: zipmap=False)",
                )
        firsts = {one.shape[0] for one in self._inputs.values() if one.shape}
        # An int if the graph fixes the batch size; otherwise the caller chooses it.
        self._batch = firsts.pop() if len(firsts) == 1 else None
        # The form of the inputs that were checked last: most runs have the same one.
        self._checked: list[tuple[str, Any, tuple[int, ...]]] | None = None

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return all outputs by name. A graph with a fixed batch runs several times if there are more samples.

        Raises InputError for inputs whose name, dtype or shape differs from the graph's.
        """
        import numpy as np

        arrays = dict(feeds)
        form = [(name, array.dtype, array.shape) for name, array in arrays.items()]
        if form != self._checked:
            self._check(arrays)
            self._checked = form
        batch, rows = self._batch, {len(array) for array in arrays.values() if array.ndim}
        if not isinstance(batch, int) or rows == {batch}:
            return dict(zip(self._outputs, self._run(arrays), strict=True))
        if len(rows) != 1 or max(rows) % batch:
            counts = ", ".join(map(str, sorted(rows)))
            raise InputError(
                f"the graph takes batches of exactly {batch} samples; {counts} were given",
                hint=f"give a multiple of {batch} samples, or export the model with a dynamic batch",
            )
        runs = [
            self._run({name: array[begin : begin + batch] for name, array in arrays.items()})
            for begin in range(0, rows.pop(), batch)
        ]
        return {
            name: np.concatenate(batches)
            for name, batches in zip(self._outputs, zip(*runs, strict=True), strict=True)
        }

    def _run(self, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            outputs: list[NDArray[Any]] = self._session.run(None, feeds)
        except Exception as error:
            raise InputError(f"ONNX Runtime cannot run the graph on these inputs: {_cause(error)}") from error
        return outputs

    def _check(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        missing, unknown = (
            sorted(self._inputs.keys() - feeds.keys()),
            sorted(feeds.keys() - self._inputs.keys()),
        )
        if missing or unknown:
            expected = ", ".join(map(_described, self._inputs.values()))
            problems = [f"lack {', '.join(missing)}"] if missing else []
            problems += [f"have {', '.join(unknown)}, which the graph does not take"] if unknown else []
            raise InputError(
                f"the samples {' and '.join(problems)}; the graph's inputs are {expected}",
                hint="name the arrays of the samples as the graph names its inputs",
            )
        for name, array in feeds.items():
            expected = self._inputs[name]
            fixed = [size if at else None for at, size in enumerate(expected.shape)]  # `run` checks the batch
            fits = len(fixed) == array.ndim and all(
                size == actual or not isinstance(size, int)
                for size, actual in zip(fixed, array.shape, strict=True)
            )
            if array.dtype != _dtype(expected.type) or not fits:
                raise InputError(
                    f"the graph takes {_described(expected)}; the samples give {array.dtype} {list(array.shape)}",
                    hint=f"save '{name}' with that dtype and rank, samples first",
                )

    def end_profile(self) -> Path:
        """Write the profile of all runs so far and return its path. Only for sessions with the setting `profile`."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Release the session and its weights."""
        del self._session


def session_options(settings: Mapping[str, Any], threads: int) -> Any:
    """Return ONNX Runtime's SessionOptions for the settings of `OrtSession`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    level = _LEVELS[settings.get("graph_optimization", "all")]
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.intra_op_num_threads = int(settings.get("intra_op_threads", threads))
    options.inter_op_num_threads = int(settings.get("inter_op_threads", 1))
    # Several inter-op threads are only used in parallel mode.
    branching = settings.get("inter_op_threads", 1) > 1
    if settings.get("execution_mode", "parallel" if branching else "sequential") == "parallel":
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    if not settings.get("spinning", True):
        for scope in ("intra_op", "inter_op"):
            options.add_session_config_entry(f"session.{scope}.allow_spinning", "0")
    options.enable_cpu_mem_arena = bool(settings.get("arena", True))
    if prefix := settings.get("profile"):
        options.enable_profiling, options.profile_file_prefix = True, prefix
    options.log_severity_level = 3  # errors only; its warnings about optimizations are not useful here
    return options


def _dtype(kind: str) -> str | None:
    """Return numpy's name of an ONNX Runtime type such as "tensor(float)"; None if numpy has no such type."""
    inner = kind.removeprefix("tensor(").removesuffix(")")
    return _DTYPES.get(inner) if kind.startswith("tensor(") else None


def _described(one: Any) -> str:
    shape = ", ".join("?" if size is None else str(size) for size in one.shape)
    return f"'{one.name}' {_dtype(one.type)} [{shape}]"


def _cause(error: Exception) -> str:
    """Return ONNX Runtime's message without its error code and source location."""
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    message = first_line.split(" : ", 3)[-1] if first_line.startswith("[ONNXRuntimeError]") else first_line
    return message.strip()
