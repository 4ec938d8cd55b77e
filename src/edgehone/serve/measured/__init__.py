"""Measurements of requests, models and the machine, besides those that answers need."""
