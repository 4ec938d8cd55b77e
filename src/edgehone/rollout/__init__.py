"""Rollouts: a challenger takes over the requests of a champion step by step, or is rolled back automatically.

`decision/` decides: from observed requests to both versions it returns whether to wait, to go on or to roll back. It
does no I/O, so the same code runs in the server, in the driver of HAProxy and in simulations.
`serve/rollout/` runs both versions in one server and moves its requests; `drive/` asks that server, or moves
requests between servers by HAProxy.
"""
