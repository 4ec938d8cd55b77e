"""Alerts on servers of bundles: as data, as rules and dashboards for Prometheus and Grafana, and evaluated without."""
