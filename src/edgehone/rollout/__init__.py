"""Rollouts: a challenger takes over the requests of a champion step by step, or goes back by itself.

`decision/` decides: it is given what was seen of requests to both versions, and says whether to wait, to go on or
to roll back. It asks nobody, so the same code runs in the server, in the driver of HAProxy and in simulations.
`serve/rollout/` runs both versions in one server and moves its requests; `drive/` asks that server, or moves
requests between servers by HAProxy.
"""
