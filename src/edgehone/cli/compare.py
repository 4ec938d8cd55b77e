"""Put bundles, or single artifacts, side by side: the same original, text, windows and rounds, on this machine, now.

An artifact (a .gguf file, an OpenVINO IR folder, …) is opened by --backend with --settings. Nothing is gated and
nothing is written. What ties with the best is marked.
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
    """The verb's arguments."""
    parser.add_argument("paths", metavar="BUNDLE", nargs="+", help="a bundle's folder, or an artifact")
    parser.add_argument("--model", metavar="MODEL", help="the original (default: where the bundles found it)")
    parser.add_argument("--backend", metavar="NAME", help="what opens the artifacts that are no bundles")
    parser.add_argument(
        "--settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="how it opens them, as a recipe's settings",
    )
    parser.add_argument("--workload", default="chat", help="what will be asked of it (default: chat)")
    parser.add_argument(
        "--effort",
        choices=("quick", "normal", "thorough"),
        default="normal",
        help="how many windows and rounds",
    )
    parser.add_argument("--eval", metavar="FILE", help="evaluation text, UTF-8 (default: a shipped one)")
    parser.add_argument("--config", metavar="FILE", help="instead of ./edgehone.toml")


def run(args: argparse.Namespace) -> int:
    """Run the verb; exit 1 if nothing given could be compared."""
    from edgehone.optimize.compare import compare
    from edgehone.report.comparison import comparison
    from edgehone.report.live import live

    settings = dict(_setting(text) for text in args.settings)
    with live(plain=args.json or not sys.stderr.isatty()) as emit:
        found = compare(
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
        print(json.dumps(found.to_json(), indent=1))
    else:
        print(comparison(found))
    return 0 if any(one.status == "ok" for one in found.candidates) else 1


def _setting(text: str) -> tuple[str, Any]:
    """KEY=VALUE; a value that is JSON (a number, true) is that, any other is text."""
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
