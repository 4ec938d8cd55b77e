"""Surgery: a smaller checkpoint of the same model, made before anything quantizes it.

An operation takes a Hugging Face folder and writes another one: blocks removed (`layers`), experts removed
(`experts`). What it removes is decided by what was measured on the calibration text, in a job of its own whose
facts are kept. The weights that stay are copied byte for byte (`checkpoint`). `operations` is the core's side.
"""
