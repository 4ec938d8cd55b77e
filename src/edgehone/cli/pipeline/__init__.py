"""Run a pipeline file: validate, optimize, certify, stage, deploy and monitor a model, stage by stage.

The file (docs/pipeline.md) names the stages and their thresholds. Stages whose inputs, settings and code are unchanged
are skipped; a stage that fails stops those that need it; a stage with `approval: manual` waits for a person. `edgehone
pipeline run --help` and the like tell more.
"""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType

EXAMPLE = """examples:
  edgehone pipeline init pipeline.yaml --model ./my-model --ci github
  edgehone pipeline check pipeline.yaml
  edgehone pipeline run pipeline.yaml
  edgehone pipeline approve pipeline.yaml production_deployment --by "A. Person"
  edgehone pipeline status pipeline.yaml
"""
ACTIONS = ("init", "check", "run", "status", "approve")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions, each with its arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    for name in ACTIONS:
        module = _module(name)
        summary = (module.__doc__ or "").partition("\n")[0].removesuffix(".")
        action = actions.add_parser(
            name,
            help=summary.replace("%", "%%"),
            description=module.__doc__,
            epilog=module.EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(action)
        action.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print JSON instead of text"
        )


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    return int(_module(args.action).run(args))


def _module(name: str) -> ModuleType:
    # A module called run would take the place of this package's function of that name.
    return importlib.import_module(f"edgehone.cli.pipeline.{'run_stages' if name == 'run' else name}")
