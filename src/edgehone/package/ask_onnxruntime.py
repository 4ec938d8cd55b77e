"""Run the canary by onnxruntime, in its environment and without edgehone: JSON in, JSON and an npz file out."""

import json
import os
import sys
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read on import
import numpy as np
import onnxruntime

asked = json.load(sys.stdin)
folder = Path(asked["canary"])
told = json.loads((folder / "canary.json").read_text("utf-8"))
feeds = {
    one["name"]: np.frombuffer((folder / one["file"]).read_bytes(), one["type"]).reshape(one["shape"])
    for one in told["inputs"]
}
names = [one["name"] for one in told["outputs"]]
session = onnxruntime.InferenceSession(asked["graph"], providers=["CPUExecutionProvider"])
np.savez(asked["out"], **dict(zip(names, session.run(names, feeds), strict=True)))
json.dump(names, sys.stdout)
