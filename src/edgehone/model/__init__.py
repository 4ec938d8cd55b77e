"""Models: facts read from the headers and configuration of a model, never from its weights.

`inspect` reads so little that a checkpoint of 100 GB takes under a second. There is one reader per format:
`huggingface`, `onnx`, `pt2` and `gguf`; `formats` parses the headers. `digest` computes the digest of the content.
"""
