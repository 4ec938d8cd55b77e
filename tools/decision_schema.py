"""Check that the schemas in data/ are what the types of their files generate; exit 1 if not.

decision.schema.json is that of decision.json, certificate.schema.json that of certificate.json,
pipeline.schema.json that of the files of `edgehone pipeline`.
`python tools/decision_schema.py --write` generates them anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from edgehone.attestation import statement
from edgehone.decision import decision
from edgehone.pipeline import schema as pipeline

DATA = Path(__file__).resolve().parent.parent / "src" / "edgehone" / "data"
SCHEMAS = {
    "decision.schema.json": decision.schema,
    "certificate.schema.json": statement.schema,
    "pipeline.schema.json": pipeline.schema,
}


def main(arguments: Sequence[str]) -> int:
    """Check, or with --write generate; return the exit code."""
    outdated = 0
    for name, schema in SCHEMAS.items():
        path, generated = DATA / name, json.dumps(schema(), indent=2) + "\n"
        if "--write" in arguments:
            path.write_text(generated, "utf-8")
        if not path.exists() or path.read_text("utf-8") != generated:
            print(f"{name} is out of date: python tools/decision_schema.py --write")
            outdated = 1
    return outdated


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
