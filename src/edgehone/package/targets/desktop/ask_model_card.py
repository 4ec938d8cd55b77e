"""Read a model card with huggingface_hub, in its environment and without edgehone. Ends with an error if it is none."""

import sys
from pathlib import Path

from huggingface_hub import ModelCard

# Without `ignore_metadata_errors` a model-index of a wrong form is an error.
card = ModelCard(Path(sys.argv[1]).read_text("utf-8"))
data = card.data
missing = [name for name in ("license", "tags", "pipeline_tag") if not getattr(data, name, None)]
if missing or not card.text.strip():
    sys.exit(f"the card lacks {', '.join(missing) or 'a text'}")
if not all(result.metric_value is not None for result in data.eval_results or ()):
    sys.exit("a metric has no value")
