"""KServe's canaries: patches that give this version a part of the requests, beside whatever is stable.

KServe splits requests by weights of the Gateway API, so any share can be had, and keeps a canary at a fixed number of
pods: at most as many as the least number of the stable version. Steps that need more pods are left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edgehone.package.targets.kubernetes.options import Settings
from edgehone.package.targets.kubernetes.texts import fill, write
from edgehone.rollout.decision.rules import shipped

CANARY: Final = "canary"
_IMAGE: Final = re.compile(r"image: (server|puller)$", re.M)


def canary_steps(settings: Settings) -> tuple[tuple[int, int], ...]:
    """Return the shares of requests in percent, and how many pods each needs when all pods are needed."""
    shares = [round(100 * one.weight) for one in shipped().strategies["ramp"] if 0 < one.weight < 1]
    steps = [(share, math.ceil(share * settings.most_replicas / 100)) for share in shares]
    return tuple(step for step in steps if step[1] <= settings.replicas)


def canary_file(share: int) -> str:
    """Return the name of the patch for a share in percent."""
    return f"{share:02d}-percent.yaml"


def write_canaries(settings: Settings, version: str, values: Mapping[str, str], folder: Path) -> None:
    """Write a patch for each step, and the one that ends the canary."""
    images = {"server": settings.image, "puller": settings.puller}

    def pinned(match: re.Match[str]) -> str:
        image = images[match[1]]
        assert image is not None
        return f"image: {image.name}@{image.digest}"

    for share, pods in canary_steps(settings):
        own = {
            **values,
            "percent": str(share),
            "canary_name": f"v-{version}",
            "canary_replicas": str(pods),
            "pod": _IMAGE.sub(pinned, values["pod"]),
        }
        write(folder / canary_file(share), fill("canary.yaml", own))
    write(folder / "end.yaml", fill("canary-end.yaml", values))
