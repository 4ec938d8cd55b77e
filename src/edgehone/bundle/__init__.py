"""The bundle: the folder that ships.

artifact/        what the backend runs
manifest.json    recipe, versions, device, the model's licence, digests of the texts and of every file
decision.json    every candidate, figure and verdict, and the reason for the choice (schema: data/decision.schema.json)
report.html      the same for readers: one file that needs no other
evidence/        raw samples of every candidate: quality per token, speed per request, memory; for a failed one, the end
                 of its log
notices/         the original model's licence files
reproduce.sh     the command that made the bundle

Certification (`edgehone.attestation`) adds certificate.json, its page, a bill of materials, evidence and signatures.

`schema` has the types, `read` and `verify` take a bundle in, `write` writes one. None of them imports the code that
builds or measures, so that a bundle can be made from an artifact that was built elsewhere.
"""

from edgehone.bundle.read import Bundle, read
from edgehone.bundle.schema import Manifest
from edgehone.bundle.verify import verify
from edgehone.bundle.write import check_target, write

__all__ = ["Bundle", "Manifest", "check_target", "read", "verify", "write"]
