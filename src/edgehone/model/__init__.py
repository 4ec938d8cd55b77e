"""What the model is: facts read from its files, never from its weights.

`inspect` reads headers and configuration only, so that a checkpoint of 100 GB is known within a second.
One reader a format: `huggingface` (safetensors) today. `digest` gives the content's fingerprint.
"""
