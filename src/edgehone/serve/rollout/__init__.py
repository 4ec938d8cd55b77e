"""Rollouts within one server: two versions of one name, and the requests between them.

split.py      which version answers a request
copies.py     copies of answered requests for a version that answers none yet
shadows.py    which versions get such copies
compare.py    whether two answers to the same request agree
start.py      checks of a challenger before it is loaded
running.py    a rollout that runs: it tells the judge what is seen, and does what it decides
rollouts.py   the rollouts of the server, also those that a crash has interrupted
routes.py     the routes of operators
"""
