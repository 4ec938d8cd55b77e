"""The small server of an image that somebody makes by hand: it answers POST /infer for model.onnx beside it."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "packages"))

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402

SESSION = onnxruntime.InferenceSession(str(HERE / "model.onnx"))


class Handler(BaseHTTPRequestHandler):
    """Answers GET /health, and POST /infer with {input: nested lists}."""

    def do_GET(self) -> None:
        """Say that the server runs."""
        self._answer({"status": "ok"})

    def do_POST(self) -> None:
        """Compute the outputs."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        given = {name: np.asarray(values, np.float32) for name, values in asked.items()}
        names = [one.name for one in SESSION.get_outputs()]
        found = SESSION.run(names, given)
        self._answer({name: values.tolist() for name, values in zip(names, found, strict=True)})

    def _answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Write no log."""


ThreadingHTTPServer(("0.0.0.0", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
