"""What is in production before: a candidate of llama.cpp that hardly differs from the original."""

from __future__ import annotations

from edgehone.bundle.read import read
from edgehone.model.demo import demo_model
from examples.demo_all.place import NAME, Place


async def version_1(place: Place) -> None:
    """Make version 1, push it, and let the alias production name it."""
    place.tell("Version 1: llama.cpp, a divergence of at most 0.001 nats, without a gate on speed or memory.")
    bundle = place.folder / "version-1"
    gates = [word for gate in ("speedup", "memory_cut", "latency_cv") for word in ("--gate", f"{gate}=off")]
    words = [
        "--backends",
        "llamacpp",
        "--effort",
        "quick",
        "--when-busy",
        "measure",
        "--subject-to",
        "kl<=0.001",
    ]
    await place.edgehone("optimize", demo_model(), *words, *gates, "--out", bundle)
    await place.edgehone("registry", "push", bundle, "--name", NAME, "--registry", place.registry)
    why = "served before there was a pipeline; not certified"
    words = ["alias", NAME, "production", "1", "--force", "--why", why, "--registry", str(place.registry)]
    await place.edgehone("registry", *words)
    chosen = read(bundle).decision.chosen
    place.tell(f"{chosen} is {NAME}:1 in the registry, with the alias production.")
