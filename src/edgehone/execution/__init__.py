"""Jobs: the one mechanism under every build, check and measurement.

A job is a function call, `module:function`, with literal arguments and named inputs. It runs in a fresh child
process in a backend's own environment, in a folder of its own:

    job.json        the call, its arguments and inputs          log.txt       all that the child printed
    result.json     facts, or the error; seconds                reproduce.sh  runs it again by hand
    out/            the files it made                           watch.json    memory samples, where asked for

The folder's name is the key: a digest of everything that determines the result.

    run.py            runs a job, or finds it finished       foreground.py     runs one for its output, keeps nothing
    store.py          finished jobs by key, failures apart   source.py         the code behind a key
    bootstrap.py      what a child runs first                worker.py         the child's side of a job
    processes.py      ending children with all they started  cause.py          the root cause in a log
    environments.py   a backend's environment, by            installer.py      uv, from a lock, with
    toolchain.py      and what is compiled for it            pipsettings.py    the index that pip is told to use
    made.py           a folder made once, whole or not there own.py            the user's own interpreter or toolchain
    place.py          here, or another machine               far/              the roads to other machines
    home.py           EDGEHONE_HOME and file locks           child.py          an installer's child, line by line
"""
