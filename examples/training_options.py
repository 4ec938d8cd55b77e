"""The command line of the scripts that train a tiny model and write samples for it."""

from __future__ import annotations

import argparse
from pathlib import Path


def options(doc: str | None, samples: str, place: str, count: int) -> argparse.Namespace:
    """Read the command line: `out`, `samples`, `count` and `seed`.

    `doc` is the script's docstring, whose first line is its description. `samples` names what it writes beside the
    model, which is also the name of its option; `place` says where; `count` is their number by default.
    """
    parser = argparse.ArgumentParser(description=(doc or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(f"--{samples}", dest="samples", type=Path, help=place)
    parser.add_argument(
        "--count", type=int, default=count, help=f"number of {samples} (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: %(default)s)")
    return parser.parse_args()
