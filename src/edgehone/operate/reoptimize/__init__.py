"""Optimize a served model again on the requests that its server kept, and offer the result as challenger."""
