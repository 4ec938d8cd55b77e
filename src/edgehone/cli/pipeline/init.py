"""Write a pipeline file to start from, its schema for editors, and with --ci a workflow that runs it.

Files that exist are not replaced. The workflow runs each stage as a job; the file of the pipeline is named in it as it
is given here, so run this in the root of the repository.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

EXAMPLE = """examples:
  edgehone pipeline init pipeline.yaml --model ./my-model
  edgehone pipeline init pipeline.yaml --model ./my-model --ci github
  edgehone pipeline init edge_ai_pipeline.yaml --ci gitlab
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("file", metavar="FILE", help="pipeline file; one that exists is kept")
    parser.add_argument("--model", metavar="MODEL", help="folder or file of the model")
    parser.add_argument(
        "--ci", choices=("github", "gitlab", "jenkins"), help="also write a workflow for this CI system"
    )


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    from edgehone.core.errors import InputError
    from edgehone.pipeline.ci import PLACES, SCHEMA_NAME, pipeline_file, workflow, write_new
    from edgehone.pipeline.read import ORDER, read_document, stages_of
    from edgehone.pipeline.schema import schema

    file, contents = Path(args.file), dict[Path, str]()
    if file.exists():
        stages = stages_of(read_document(file))
    elif args.model is None:
        raise InputError("no model is named", hint=f"edgehone pipeline init {args.file} --model MODEL")
    else:
        stages = tuple(name for name in ORDER if name != "packaging")
        contents[file] = pipeline_file(args.model)
    contents[file.with_name(SCHEMA_NAME)] = json.dumps(schema(), indent=2) + "\n"
    if args.ci:
        out = f"{file.stem}-run"
        contents[Path(PLACES[args.ci])] = workflow(args.ci, file.as_posix(), out, stages)
    write_new(contents)
    paths = [str(path) for path in contents]
    print(json.dumps({"files": paths}, indent=1) if args.json else "\n".join(paths))
    if not args.json:
        print(f"next: edgehone pipeline check {args.file}")
    return 0
