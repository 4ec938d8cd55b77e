"""Start a program of Python with limits of time that a test can wait for: short_limits.py PYTHON -m MODULE WORDS…"""

from __future__ import annotations

import runpy
import sys

from edgehone.serve import bounded, http, text

text.SECONDS = 3.0
bounded.HEAD_SECONDS = bounded.LINGER_SECONDS = http.BODY_SECONDS = 1.0
_, _, module, *words = sys.argv[1:]
sys.argv = [module, *words]
runpy.run_module(module, run_name="__main__")
