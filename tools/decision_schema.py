"""Check that data/decision.schema.json is what the types of decision.json generate; exit 1 if not.

`python tools/decision_schema.py --write` generates it anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from edgehone.decision.decision import schema

PATH = Path(__file__).resolve().parent.parent / "src" / "edgehone" / "data" / "decision.schema.json"


def main(arguments: Sequence[str]) -> int:
    """Check, or with --write generate; return the exit code."""
    generated = json.dumps(schema(), indent=2) + "\n"
    if "--write" in arguments:
        PATH.write_text(generated, "utf-8")
    if PATH.read_text("utf-8") != generated:
        print(f"{PATH.name} is out of date: python tools/decision_schema.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
