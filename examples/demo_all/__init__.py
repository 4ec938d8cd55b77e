"""From a model to production and back, in one run: `python -m examples.demo_all`, or `make demo-all`.

A version is in production. The mission's pipeline file makes the next one and rolls it out under requests; then the
requests change, which is noticed and answered. Everything is done by edgehone's own verbs; each step is a file here.
"""
