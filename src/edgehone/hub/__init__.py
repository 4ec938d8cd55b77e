"""Models downloaded from a hub, on request only: a pinned commit, resumed, every file compared with its digest."""
