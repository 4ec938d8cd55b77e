"""Compare bundles or artifacts by measuring them now on this machine.

All are compared with the same original, on the same evaluation windows and in interleaved benchmark rounds. An artifact
that is not a bundle (a .gguf file, an OpenVINO IR folder, …) is opened by --backend with --settings. No gates apply and
nothing is written. Results that tie with the best are marked. Exit code 1 if none could be measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

EXAMPLE = """examples:
  edgehone compare ./bundle ./other-bundle
  edgehone compare ./model-q4.gguf ./bundle --backend llamacpp --model ./my-model
  edgehone compare ./ir-folder --backend openvino --settings kv_cache=u8 --model ./my-model --effort quick
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("paths", metavar="BUNDLE", nargs="+", help="folder of a bundle, or an artifact")
    parser.add_argument(
        "--model", metavar="MODEL", help="the original model (default: the path recorded in the bundles)"
    )
    parser.add_argument("--backend", metavar="NAME", help="backend that opens the artifacts")
    parser.add_argument(
        "--settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="runtime setting for the artifacts, as in a recipe; may be repeated",
    )
    parser.add_argument(
        "--workload", help="workload to measure (default: by the model's task: chat, classify, embed)"
    )
    parser.add_argument(
        "--effort",
        choices=("quick", "normal", "thorough"),
        default="normal",
        help="number of evaluation windows and benchmark rounds (default: normal)",
    )
    parser.add_argument("--eval", metavar="FILE", help="evaluation text, UTF-8 (default: the shipped text)")
    parser.add_argument("--config", metavar="FILE", help="configuration file (default: ./edgehone.toml)")


def run(args: argparse.Namespace) -> int:
    """Run the verb. Returns 1 if none of the paths could be measured."""
    from edgehone.optimize.compare import compare
    from edgehone.report.comparison import comparison
    from edgehone.report.live import live

    settings = dict(_setting(text) for text in args.settings)
    with live(plain=args.json or not sys.stderr.isatty()) as emit:
        result = compare(
            args.paths,
            model=args.model,
            backend=args.backend,
            settings=settings,
            workload=args.workload,
            effort=args.effort,
            evaluation=args.eval,
            config_file=args.config,
            emit=emit,
        )
    if args.json:
        print(json.dumps(result.to_json(), indent=1))
    else:
        print(comparison(result))
    return 0 if any(one.status == "ok" for one in result.candidates) else 1


def _setting(text: str) -> tuple[str, Any]:
    """Parse KEY=VALUE. A value that is JSON (a number, true) is decoded; any other value is text."""
    from edgehone.core.errors import InputError

    key, equals, value = (part.strip() for part in text.partition("="))
    if not (key and equals and value):
        raise InputError(
            f"--settings {text!r} is not KEY=VALUE", hint="write for example --settings kv_cache=f16"
        )
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
