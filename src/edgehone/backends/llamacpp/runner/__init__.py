"""edgehone-runner: one static program that runs GGUF files on machines without Python.

`machines.toml` lists the processors and `make.py` compiles the program for one of them (`edgehone.package.runner`
provides it). `session.py` runs it as a session, also under an emulator, so that an artifact is scored with the kernels
of its target.
"""
