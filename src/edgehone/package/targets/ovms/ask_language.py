"""Continue canaries by openvino_genai, in its environment and without edgehone: JSON in, JSON out.

Prints how many tokens of the proven answers were given again, of how many. An answer that differs is asked for again
token by token, each after the proven beginning, so that one different token does not count as many.
"""

import json
import sys

import numpy as np
import openvino as ov
import openvino_genai as genai

asked = json.load(sys.stdin)
pipeline = genai.LLMPipeline(asked["folder"], "CPU", **asked["properties"])


def generated(prompt: list[int], count: int) -> list[int]:
    """Return the ids that greedily continue a prompt."""
    settings = genai.GenerationConfig(max_new_tokens=count, do_sample=False, ignore_eos=True)
    pipeline.set_generation_config(settings)
    ids = ov.Tensor(np.array([prompt], dtype=np.int64))
    result = pipeline.generate(genai.TokenizedInputs(ids, ov.Tensor(np.ones_like(ids.data))), settings)
    return [int(one) for one in result.tokens[0]]


equal = 0
for prompt, answer in asked["canaries"]:
    if generated(prompt, len(answer)) == answer:
        equal += len(answer)
        continue
    equal += sum(generated(prompt + answer[:at], 1) == [token] for at, token in enumerate(answer))
json.dump({"equal": equal, "tokens": sum(len(answer) for _, answer in asked["canaries"])}, sys.stdout)
