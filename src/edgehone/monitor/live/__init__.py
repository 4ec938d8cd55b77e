"""The live view of a server in a terminal: what `edgehone monitor URL` shows.

`watch.py` scrapes the server again and again and yields a `View` (view.py) of the last minute each time, also while the
server does not answer. `terminal.py` shows views as tables, as lines, or as JSON.
"""
