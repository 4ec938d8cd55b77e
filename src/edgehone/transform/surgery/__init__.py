"""Structural pruning ("surgery"): a smaller checkpoint of the same model, written before quantization.

An operation reads a Hugging Face folder and writes another one, with blocks removed (`layers`) or experts removed
(`experts`). What is removed is decided by measurements on the calibration text, in a separate job whose facts are
recorded. The remaining weights are copied byte for byte (`checkpoint`). `operations` turns a recipe's operations
into build steps.
"""
