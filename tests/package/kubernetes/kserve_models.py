"""Judge an InferenceService on standard input by the types of kserve's models and those of the Kubernetes client.

The models accept anything, so their `openapi_types` are walked: an unknown field and a wrong type are problems.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import kserve.models
import kubernetes.client.models

_PLAIN: dict[str, Any] = {"str": str, "int": int, "bool": bool, "float": float, "object": object}
_PLAIN["IntOrString"] = (int, str)
_MANY = re.compile(r"(list|dict|List|Dict)\[(?:str, )?(.*)\]|dict\(str, (.*)\)")


def problems(kind: str, value: Any, at: str) -> list[str]:
    """Return what is wrong with a value of a type as `openapi_types` names it."""
    if many := _MANY.fullmatch(kind):
        inner, wanted = many[2] or many[3], list if (many[1] or "").lower() == "list" else dict
        if not isinstance(value, wanted):
            return [f"{at} is no {wanted.__name__}"]
        items: Any = enumerate(value) if wanted is list else dict(value).items()
        return [one for key, item in items for one in problems(inner, item, f"{at}.{key}")]
    if kind in _PLAIN or kind == "ResourceQuantity":
        good = isinstance(value, _PLAIN.get(kind, str)) and (kind == "bool") == isinstance(value, bool)
        return [] if good else [f"{at} is {value!r}, no {kind}"]
    return fields(kind, value, at)


def fields(kind: str, value: Any, at: str) -> list[str]:
    """Return what is wrong with the fields of a model."""
    model = getattr(kserve.models, kind, None) or getattr(kubernetes.client.models, kind, None)
    if model is None or not isinstance(value, dict):
        return [f"{at} is no {kind}"]
    names = {json_name: name for name, json_name in model.attribute_map.items()}
    unknown = [f"{at}.{key} is unknown to {kind}" for key in value if key not in names]
    known = [(key, model.openapi_types[names[key]]) for key in value if key in names]
    return unknown + [one for key, inner in known for one in problems(inner, value[key], f"{at}.{key}")]


found = problems("V1beta1InferenceService", json.load(sys.stdin), "InferenceService")
print("\n".join(found))
sys.exit(bool(found))
