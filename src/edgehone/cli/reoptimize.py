"""Optimize a served bundle again on the requests that its server kept, and offer the result as challenger.

Takes the recent requests that `edgehone serve --state DIR --keep-samples N` kept (encrypted), divides them, optimizes
the original again as the bundle was made but on them, certifies the result, and compares it with the bundle on requests
that neither was made from. If it is proven better it becomes a version of the registry with the alias challenger; to
promote it is left to a person. Everything runs with the lowest priority, so that a server on the same machine answers
first. What was interrupted goes on with the same command; texts of users are removed at the end.

Exit code 0: the challenger is better. 3: it is not, or it is not approved. 2: wrong input, such as too few samples.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgehone.operate.reoptimize.options import Options

EXAMPLE = """examples:
  edgehone reoptimize ./bundle --state ./state --samples-key-file samples.key --registry ./registry
  edgehone reoptimize ./bundle --state ./state --samples-key-file samples.key --out ./next --time 1h --key signing.pem
  edgehone reoptimize ./bundle --state ./state --remove-samples
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of the bundle that is served")
    parser.add_argument("--state", required=True, metavar="DIR", help="the server's --state")
    parser.add_argument(
        "--samples-key-file",
        metavar="FILE",
        help="the server's --samples-key-file, which decrypts what it kept",
    )
    parser.add_argument(
        "--model", metavar="NAME", help="the name that it is served as (default: its folder's)"
    )
    parser.add_argument(
        "--original", metavar="MODEL", help="the original model (default: the path recorded in the bundle)"
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the challenger (default: BUNDLE-challenger)")
    parser.add_argument(
        "--registry",
        metavar="WHERE",
        help="folder or database of the registry that it is offered in (default: none)",
    )
    parser.add_argument("--blobs", metavar="DIR", help="folder of the blobs, if the registry is a database")
    parser.add_argument(
        "--name", metavar="NAME", help="name of the model in the registry (default: the bundle's)"
    )
    parser.add_argument("--key", metavar="FILE", help="private EC key (PEM) that signs the challenger")
    parser.add_argument(
        "--profile", metavar="FILE", help="thresholds of the certification (edgehone certify)"
    )
    parser.add_argument(
        "--soak",
        default="60s",
        metavar="TIME",
        help="length of the certification's stability test (default: 60s)",
    )
    parser.add_argument(
        "--time", default="4h", metavar="LENGTH", help="longest time of each step (default: 4h)"
    )
    parser.add_argument(
        "--processors",
        type=int,
        metavar="N",
        help="use so many processors (default: all, after everything else). Figures of speed are of these",
    )
    parser.add_argument(
        "--least", type=int, default=64, metavar="N", help="different requests that are needed (default: 64)"
    )
    parser.add_argument(
        "--discard",
        action="store_true",
        help="only remove what an interrupted call left beside the challenger",
    )
    parser.add_argument(
        "--remove-samples", action="store_true", help="only remove all kept samples of the state"
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb."""
    if args.discard or args.remove_samples:
        return _removed(args)
    from edgehone.operate.reoptimize.reoptimize import reoptimize

    result = reoptimize(_options(args), lambda text: print(text, file=sys.stderr, flush=True))
    if args.json:
        print(json.dumps(result.to_json(), indent=1))
    else:
        print(f"{result.outcome}: {result.reason}")
        print(f"champion   {result.champion}\nchallenger {result.challenger}, approval: {result.approval}")
        for note in result.notes:
            print(f"note: {note}")
        where = result.version or f"edgehone registry push {result.bundle}"
        print(f"next: {'edgehone registry show ' if result.version else ''}{where}")
    return 0 if result.outcome in ("offered", "better") else 3


def _options(args: argparse.Namespace) -> Options:
    from edgehone.core.errors import InputError
    from edgehone.operate.reoptimize.options import Options
    from edgehone.optimize.search.clock import seconds_of

    if args.samples_key_file is None:
        raise InputError(
            "kept samples are encrypted, and no key is given", hint="add the server's --samples-key-file FILE"
        )
    bundle, state = Path(args.bundle), Path(args.state)
    if not state.is_dir():
        raise InputError(f"there is no folder {state}", hint="give the --state of edgehone serve")
    for name in ("processors", "least"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise InputError(f"--{name} is {value}", hint="give a number from 1 on")
    given = {
        name: Path(value) if (value := getattr(args, name)) else None
        for name in ("profile", "key", "blobs", "original")
    }
    return Options(
        bundle=bundle,
        state=state,
        model=args.model or bundle.resolve().name,
        samples_key=Path(args.samples_key_file),
        out=_out(args),
        registry=args.registry,
        blobs=given["blobs"],
        name=args.name,
        signing_key=given["key"],
        profile=given["profile"],
        soak=seconds_of(args.soak, "--soak"),
        seconds=seconds_of(args.time, "--time"),
        processors=args.processors,
        least=args.least,
        model_path=given["original"],
    )


def _out(args: argparse.Namespace) -> Path:
    bundle = Path(args.bundle).resolve()
    return Path(args.out) if args.out else bundle.with_name(f"{bundle.name}-challenger")


def _removed(args: argparse.Namespace) -> int:
    from edgehone.operate.reoptimize.reoptimize import discard
    from edgehone.serve.drift import kept

    done: dict[str, bool | int] = {}
    if args.discard:
        done["discarded"] = discard(_out(args))
    if args.remove_samples:
        done["removed_files"] = kept.remove(Path(args.state))
    print(
        json.dumps(done)
        if args.json
        else "; ".join(f"{name.replace('_', ' ')}: {one}" for name, one in done.items())
    )
    return 0
