"""The metrics of the last days, on disk, without a Prometheus beside the server.

A timer reads the server's own metrics (no HTTP, no engine is asked) and hands them to a thread, which writes figures of
the time since the last reading into an SQLite file: 10 s apart for 6 hours, 5 minutes apart for 14 days. The file has a
largest size. A history that cannot be written never stops a request: that is said once, and tried again.

`figures.py` reduces readings to figures, `store.py` is the file, `recorder.py` the timer, `query.py` reads figures and
`routes.py` answers GET /history.
"""
