"""Faults on demand: which, where and how often is a plan; a running batch can be given another."""

from __future__ import annotations

from lesson15.faults.control import FaultControl
from lesson15.faults.plan import FaultPlan, FaultRule
from lesson15.faults.points import FaultKind, FaultPoint

__all__ = ["FaultControl", "FaultKind", "FaultPlan", "FaultPoint", "FaultRule"]
