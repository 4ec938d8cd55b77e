"""Generate greedily with openvino_genai, in its environment and without edgehone: JSON in, JSON out."""

import ast
import json
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import openvino_genai as genai

asked = json.load(sys.stdin)
folder = Path(asked["folder"])
lines = (folder / "generate.py").read_text("utf-8").splitlines()
device, properties = (
    ast.literal_eval(next(line for line in lines if line.startswith(name)).partition(" = ")[2])
    for name in ("DEVICE = ", "PROPERTIES = ")
)
pipeline = genai.LLMPipeline(str(folder), device, **properties)
settings = genai.GenerationConfig(max_new_tokens=asked["count"], do_sample=False, ignore_eos=True)
pipeline.set_generation_config(settings)
ids = ov.Tensor(np.array([asked["prompt"]], dtype=np.int64))
result = pipeline.generate(genai.TokenizedInputs(ids, ov.Tensor(np.ones_like(ids.data))), settings)
json.dump([int(one) for one in result.tokens[0]], sys.stdout)
