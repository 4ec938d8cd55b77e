"""ONNX Runtime started without a model (worker side): the memory that a model's own is counted from."""

from __future__ import annotations

import os


def start_session(threads: int) -> None:
    """Open and run a graph of one Identity node, so that the runtime's threads and arena exist."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(identity_graph(), options, providers=["CPUExecutionProvider"])
    session.run(None, {"x": np.zeros(1, np.float32)})


def identity_graph() -> bytes:
    """Return an ONNX file with one node, y = Identity(x) of one float32. The onnx package takes memory itself."""
    tensor_type = _field(1, b"\x08\x01" + _field(2, _field(1, b"\x08\x01")))  # float32, shape [1]
    node = _field(1, b"x") + _field(2, b"y") + _field(4, b"Identity")
    values = [_field(1, name) + _field(2, tensor_type) for name in (b"x", b"y")]
    graph = _field(1, node) + _field(2, b"empty") + _field(11, values[0]) + _field(12, values[1])
    return b"\x08\x08" + _field(7, graph) + _field(8, b"\x10\x0d")  # IR version 8, opset 13


def _field(number: int, payload: bytes) -> bytes:
    """Return a protocol buffers field of bytes (under 128 of them, so that the length is one byte)."""
    assert len(payload) < 128
    return bytes([number << 3 | 2, len(payload)]) + payload
