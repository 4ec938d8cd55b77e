"""Load on a server of this machine: a client that costs little, schedules of requests, and a server to ask."""
