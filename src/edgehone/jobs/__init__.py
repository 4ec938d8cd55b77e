"""Jobs: the one mechanism under every build, check and measurement.

A job is a function call, `module:function`, with literal arguments and named inputs. It runs in a fresh child
process in a backend's own environment, in a folder of its own:

    job.json        the call, its arguments and inputs          log.txt       all that the child printed
    result.json     facts, or the error; seconds                reproduce.sh  runs it again by hand
    out/            the files it made                           watch.json    memory samples, where asked for

The folder's name is the key: a digest of everything that determines the result. `store.py` keeps finished jobs,
`run.py` runs one, `worker.py` is the child's side, `environments.py` makes the environments with uv.
"""
