"""Decide on a rollout from observed requests, with a bound on wrong decisions at any number of looks.

rules.toml      margins, error rates, stages: all choices, with their reasons
rules.py        reads them
outcome.py      what is known of a request, as values in [0, 1] of which smaller ones are better
evidence.py     e-processes: evidence that the challenger is worse, and that it is not worse
memory.py       memory limits, and the test for a leak
judge.py        all of it together: a verdict at any time
effect.py       A/B tests: effect with an always-valid interval (mixture sequential probability ratio test)
assignment.py   which version answers a request
plan.py         a rollout as it is planned, and its state
store.py        what is kept on disk of rollouts
"""
