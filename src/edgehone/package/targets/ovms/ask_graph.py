"""Run the canary of a graph by OpenVINO, in its environment and without edgehone: JSON in, JSON and an npz file out."""

import json
import sys
from pathlib import Path

import numpy as np
import openvino as ov

asked = json.load(sys.stdin)
folder = Path(asked["canary"])
told = json.loads((folder / "canary.json").read_text("utf-8"))
feeds = {
    one["name"]: np.frombuffer((folder / one["file"]).read_bytes(), one["type"]).reshape(one["shape"])
    for one in told["inputs"]
}
model = ov.Core().compile_model(asked["graph"], "CPU", asked["properties"])
result = model(feeds)
names = [one["name"] for one in told["outputs"]]
np.savez(asked["out"], **{name: result[model.output(name)] for name in names})
json.dump(names, sys.stdout)
