"""Run a pipeline file: validate, optimize, certify, stage, deploy and monitor a model, stage by stage.

The file (docs/pipeline.md) names the stages and their thresholds. Stages whose inputs, settings and code are unchanged
are skipped; a stage that fails stops those that need it; a stage with `approval: manual` waits for a person. For
the options of the actions: edgehone pipeline run --help, and so on.
"""

from __future__ import annotations

import argparse

from edgehone.cli.actions import add_actions, run_action

EXAMPLE = """examples:
  edgehone pipeline init pipeline.yaml --model ./my-model --ci github
  edgehone pipeline check pipeline.yaml
  edgehone pipeline run pipeline.yaml
  edgehone pipeline approve pipeline.yaml production_deployment --by "A. Person"
  edgehone pipeline status pipeline.yaml
"""
# A module called run would replace this package's function of that name.
ACTIONS = {
    name: f"{__name__}.{'run_stages' if name == 'run' else name}"
    for name in ("init", "check", "run", "status", "approve")
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions, each with its arguments."""
    add_actions(parser, ACTIONS)


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    return run_action(args, ACTIONS)
