"""Run jobs on other machines: on a host over SSH, and on the workers of a Dask cluster.

    ssh_executor.py      an Executor over SSH
    ssh.py               the ssh process and its connection       ssh_errors.py   what ssh's messages mean
    bootstrap.py         the first code that runs on the host     messages.py     messages over the two pipes
    serve.py             the host's end of the connection

    cluster_executor.py  an Executor over Dask
    cluster.py           the workers of a Dask cluster

    agent.py             the requests that a remote machine serves: describe the machine, receive inputs, run a job, …
    transfer.py          this machine's side of a remote job: send missing inputs, fetch the result

An input is named by its content, so a remote machine keeps what it was sent and does not need it again. It runs a job
as any machine does and has a store of its own: if the connection is cut, or a worker is killed, no finished job is
lost on either side.
"""
