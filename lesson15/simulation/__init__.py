"""Seeded universes."""
