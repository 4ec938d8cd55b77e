"""Jobs on other machines: over SSH, and on the workers of a Dask cluster.

    agent.py   what a far machine is asked, as plain functions: what are you, what do you lack, run this job
    carry.py   our side of a job that runs there: send what is lacking, run, fetch what it made
    ssh.py     one ssh process, and what its failures mean       wire.py    messages over its two pipes
    boot.py    what the host runs first                          serve.py   the host's end of the pipes
    cluster.py workers of a Dask cluster

Every input is named by its content, so a far machine keeps what it was sent and is never sent it again. It runs a job
as any machine does, with a store of its own: a connection that is cut, or a worker that is killed, loses nothing that
was finished, there or here.
"""
