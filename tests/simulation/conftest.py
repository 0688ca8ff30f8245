"""The fixture that users of the package have."""

from lesson15.simulation.fixture import universes

__all__ = ["universes"]
