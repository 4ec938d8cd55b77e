"""Which experts llama.cpp chooses, read from its graph while libllama computes it (worker side).

libllama calls back for each tensor that it has computed; those named ffn_moe_topk-N (src/llama-graph.cpp,
build_moe_ffn) hold the numbers of the experts chosen in block N.
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
    """The first members of struct ggml_tensor (ggml/include/ggml.h): extents `ne`, strides in bytes `nb`."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
    )


class RoutingSession(LlamaSession):
    """A session whose contexts tell the chosen experts: a `RoutingSession` of the contract."""

    def __init__(self, library: Any, path: Path, settings: Mapping[str, Any], threads: int) -> None:
        super().__init__(library, path, settings, threads)
        base = library._lib
        base.ggml_get_name.restype, base.ggml_get_name.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
        base.ggml_get_data.restype, base.ggml_get_data.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        self._base = base
        self._seen: dict[int, list[Any]] = {}
        # libllama keeps the pointer as long as a context is open.
        self._callback = library.ggml_backend_sched_eval_callback(self._take)

    def routing(self, ids: Sequence[int]) -> dict[int, NDArray[np.int16]]:
        """The experts chosen for each of `ids` from an empty context, by block: [tokens, k].

        Raises EdgehoneError where libllama chose none, or for not as many tokens.
        """
        import numpy as np

        self._seen.clear()
        for _ in self.score(ids):
            pass
        if not self._seen:
            raise EdgehoneError("llama.cpp computed no tensor called ffn_moe_topk: it chose no experts")
        found = {block: np.concatenate(parts) for block, parts in sorted(self._seen.items())}
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
            self._seen.setdefault(block, []).append(self._numbers(tensor))
        return True

    def _numbers(self, tensor: int) -> NDArray[np.int16]:
        """The int32 matrix [k, tokens] of ggml, whose rows may lie in wider ones, as [tokens, k]."""
        import numpy as np

        head = _TensorHead.from_address(tensor)
        chosen, tokens, stride = head.ne[0], head.ne[1], head.nb[1]
        width = stride // 4
        raw = ctypes.cast(self._base.ggml_get_data(tensor), ctypes.POINTER(ctypes.c_int32))
        # The last row of a view may end before its stride does.
        flat = np.ctypeslib.as_array(raw, shape=((tokens - 1) * width + chosen,))
        rows = np.lib.stride_tricks.as_strided(flat, (tokens, chosen), (stride, 4))
        return rows.astype(np.int16)
