"""Watching batches: Prometheus metrics and JSON logs."""
