"""Read the experts that llama.cpp chooses from its graph while libllama computes it (worker side).

libllama calls a callback for each computed tensor. The tensors named ffn_moe_topk-N (src/llama-graph.cpp,
build_moe_ffn) contain the indices of the experts chosen in block N.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgehone.backends.llamacpp.session import LlamaSession
from edgehone.core.errors import EdgehoneError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CHOSEN = b"ffn_moe_topk-"
_NAME_BYTES = 64  # GGML_MAX_NAME


class _TensorHead(ctypes.Structure):
    """The first members of struct ggml_tensor (ggml/include/ggml.h): the extents `ne` and the strides in bytes `nb`."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
    )


class RoutingSession(LlamaSession):
    """A session that reports the chosen experts: a `RoutingSession` of `edgehone.backends.sessions`."""

    def __init__(self, library: Any, path: Path, settings: Mapping[str, Any], threads: int) -> None:
        super().__init__(library, path, settings, threads)
        base = library._lib
        base.ggml_get_name.restype, base.ggml_get_name.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
        base.ggml_get_data.restype, base.ggml_get_data.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        self._base = base
        self._chosen: dict[int, list[Any]] = {}
        # libllama keeps the pointer while a context is open, so the callback must not be collected.
        self._callback = library.ggml_backend_sched_eval_callback(self._take)

    def routing(self, ids: Sequence[int]) -> dict[int, NDArray[np.int16]]:
        """Return the experts chosen for each id from an empty context, by block: [tokens, k].

        Raises EdgehoneError if libllama reports no experts, or experts for another number of tokens.
        """
        import numpy as np

        self._chosen.clear()
        for _ in self.score(ids):
            pass
        if not self._chosen:
            raise EdgehoneError(
                "llama.cpp computed no tensor named ffn_moe_topk, so the chosen experts are unknown"
            )
        found = {block: np.concatenate(parts) for block, parts in sorted(self._chosen.items())}
        for block, chosen in found.items():
            if len(chosen) != len(ids):
                raise EdgehoneError(f"block {block} chose experts for {len(chosen)} of {len(ids)} tokens")
        return found

    def _parameters(self, length: int, sequences: int) -> Any:
        params = super()._parameters(length, sequences)
        params.cb_eval = self._callback
        return params

    def _take(self, tensor: int, ask: bool, _: Any) -> bool:
        name = bytes(self._base.ggml_get_name(tensor))[:_NAME_BYTES]
        if not name.startswith(_CHOSEN):
            return not ask
        if not ask:
            block = int(name.removeprefix(_CHOSEN).split()[0])
            self._chosen.setdefault(block, []).append(self._numbers(tensor))
        return True

    def _numbers(self, tensor: int) -> NDArray[np.int16]:
        """Return ggml's int32 matrix [k, tokens], possibly a view of wider rows, as [tokens, k]."""
        import numpy as np

        head = _TensorHead.from_address(tensor)
        chosen, tokens, stride = head.ne[0], head.ne[1], head.nb[1]
        width = stride // 4
        raw = ctypes.cast(self._base.ggml_get_data(tensor), ctypes.POINTER(ctypes.c_int32))
        # The memory of a view may end before the stride of its last row.
        flat = np.ctypeslib.as_array(raw, shape=((tokens - 1) * width + chosen,))
        rows = np.lib.stride_tricks.as_strided(flat, (tokens, chosen), (stride, 4))
        return rows.astype(np.int16)
