"""Start and follow rollouts of a server, and move requests between servers by HAProxy."""
