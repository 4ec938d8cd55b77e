"""Move the requests of a server to a new version in steps, by a rollout, which the server runs and judges.

The rollout goes on in the server if the pipeline is killed; the next run finds it and follows it to its end.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgehone.operate.server import Server
from edgehone.rollout.decision.plan import OPEN
from edgehone.rollout.decision.rules import entries
from edgehone.rollout.drive.follow import follow, rollouts, start
from edgehone.serve.keys import read_keys


def ramp(url: str, key_file: str, body: Mapping[str, Any], rules: str | None) -> dict[str, Any]:
    """Start a rollout (strategy ramp) to the bundle in `body`, or find the one under way, and follow it to its end.

    `rules`: a TOML file that replaces entries of the rollout's rules. Returns `status`, `reason`, `stages` (those that
    were seen), `answered` (requests by version) and `events`. Raises InputError and JobError for what the server
    refuses.
    """
    server = Server(url, read_keys(Path(key_file))[0], None)
    known = [
        one
        for one in rollouts(server, body["name"])
        if one["status"] in OPEN and one["challenger"]["path"] == body["path"]
    ]
    asked = {
        **body,
        "strategy": "ramp",
        "why": "edgehone pipeline",
        "rules": entries(Path(rules)) if rules else {},
    }
    begun = known[0] if known else start(server, asked)
    stages: list[str] = []
    for told in follow(server, begun["id"], _say):
        if told.get("stage") and told["stage"] not in stages:
            stages.append(told["stage"])
    return {
        "status": told["status"],
        "reason": told["reason"],
        "stages": stages,
        "answered": dict(told.get("answered", {})),
        "events": told["events"],
    }


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
