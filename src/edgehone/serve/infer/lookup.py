"""Models by their names, and the description of a graph for clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgehone.serve.asked import no_model
from edgehone.serve.http import Refused
from edgehone.serve.infer.check import public
from edgehone.serve.infer.model import GraphModel
from edgehone.serve.infer.tensor import DATATYPES
from edgehone.serve.model import Model

# The only version of a bundle, which its folder names.
VERSION = "1"
# Bytes of a request: about six pictures of 640 × 640 pixels in float32.
LIMIT = 32 << 20
# Bytes of all requests that are held at the same time.
HELD = 16 * LIMIT


def model_of(models: Mapping[str, Model], name: str, version: str = VERSION) -> Model:
    """Return a model. Raises Refused if there is none of that name and version."""
    if name not in models:
        raise no_model(name, models)
    if version != VERSION:
        raise Refused(404, f"{name} has no version {version[:80]!r}, only {VERSION}")
    return models[name]


def graph_of(models: Mapping[str, Model], name: str, version: str = VERSION) -> GraphModel:
    """Return a model that is a graph. Raises Refused for another one."""
    model = model_of(models, name, version)
    if not isinstance(model, GraphModel):
        raise Refused(400, f"{model.name} generates text: ask for POST /v1/completions")
    return model


def metadata(model: GraphModel) -> dict[str, Any]:
    """Return a graph's name, platform, inputs and outputs as the protocol has them; -1 is a free size.

    A certified bundle's has the SHA-256 of its certificate, too.
    """
    served = model.served
    ports = {"inputs": served.inputs, "outputs": served.outputs}
    return {
        "name": model.name,
        "versions": [VERSION],
        "platform": served.bundle.manifest.recipe["backend"],
        **({"certificate": served.certificate} if served.certificate else {}),
        **{
            part: [
                {"name": one.name, "datatype": DATATYPES[one.dtype], "shape": public(one.shape)}
                for one in found
            ]
            for part, found in ports.items()
        },
    }
