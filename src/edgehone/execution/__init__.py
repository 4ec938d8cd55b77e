"""Jobs: builds, checks and measurements all run as jobs.

A job is a function call, `module:function`, with arguments that JSON can represent and named inputs. It runs in a new
child process, in the environment of a backend, in a folder of its own:

    job.json        the call, its arguments and inputs          log.txt       the output of the child
    result.json     facts or the error; seconds                 reproduce.sh  runs the job again by hand
    out/            the files that it wrote                      watch.json    samples taken by the parent, if any

The name of the folder is the job's key, a digest of all that determines the result.

    job.py              a job and its key                   source_digest.py   the digest of the code in a key
    run.py              run a job unless it is stored       store.py           results by key
    child_process.py    run a job in a child process        command.py         the child's command line and variables
    foreground.py       run a job without storing it        watch.py           sample a running child
    bootstrap.py        the first file that a child runs    worker_process.py  the child's side of a job
    processes.py        measure and end child processes     failure_cause.py   the root cause in a log
    subprocesses.py     run an installer line by line       threads.py         the number of threads of a session
    home.py             EDGEHONE_HOME and file locks        database.py        open SQLite databases
    executor.py         the Executor protocol; this machine remote/            executors on other machines
    environments/       environments and toolchains of backends
"""
