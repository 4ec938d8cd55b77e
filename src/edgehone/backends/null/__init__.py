"""A backend without a framework, for tests of the machinery around the backends."""
