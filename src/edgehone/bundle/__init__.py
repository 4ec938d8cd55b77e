"""The bundle: the folder that ships, and reading it again.

artifact/        what the backend runs
manifest.json    recipe, digests of every file, versions, device, the model's licence, the texts' digests
decision.json    every candidate, figure and verdict, and why (schema: data/decision.schema.json)
report.html      the same for people: one file that needs nothing else
evidence/        raw samples of every candidate: per-token quality, per-request speed, memory; ends of failed ones' logs
notices/         the original model's licence files
reproduce.sh     the command that made it
"""

from edgehone.bundle.read import Bundle, read, verify
from edgehone.bundle.write import check_target, write

__all__ = ["Bundle", "check_target", "read", "verify", "write"]
