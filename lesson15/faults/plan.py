"""Fault plans: seeded data that says which faults strike; printed, stored and replayed as JSON."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lesson15.errors import FaultPlanError
from lesson15.faults.points import ALLOWED, FaultKind, FaultPoint


class FaultRule(BaseModel):
    """One kind of fault at one point.

    ``rate`` is drawn for each attempt at each document (each call, for files) from the plan's seed,
    whatever the order of the work. ``nth`` counts the calls that match and lets only that one
    through, ``times`` caps how often the rule strikes in a run: which documents these meet depends
    on the order of the work. ``seconds`` is the length of a ``delay``, of the trouble of a service,
    or of a ``clock_jump``, where it may be negative.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    point: FaultPoint
    kind: FaultKind
    # Strict: `true` and "1" are no numbers.
    rate: float = Field(1.0, ge=0, le=1, allow_inf_nan=False, strict=True)
    documents: str = Field("*", description="Glob on the document's id or on its last part.")
    nth: int | None = Field(None, ge=1, strict=True)
    times: int | None = Field(None, ge=1, strict=True)
    seconds: float = Field(0.5, allow_inf_nan=False, strict=True)

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.kind not in ALLOWED[self.point]:
            allowed = ", ".join(kind for kind in FaultKind if kind in ALLOWED[self.point])
            raise ValueError(
                f"a fault of kind {self.kind.value!r} makes no sense at the point "
                f"{self.point.value!r}; the kinds that do: {allowed}"
            )
        if self.seconds < 0 and self.kind is not FaultKind.CLOCK_JUMP:
            raise ValueError(
                f"seconds: {self.seconds} is negative, which only a fault of kind 'clock_jump' "
                "may be"
            )
        return self

    def matches(self, document: str) -> bool:
        """Whether this rule concerns ``document``."""
        return fnmatchcase(document, self.documents) or fnmatchcase(
            document.rpartition("/")[2], self.documents
        )


class FaultPlan(BaseModel):
    """Rules and the seed of their draws: the same plan gives the same faults.

    Rules that strike at the same call add up: a ``torn_write`` and a ``kill`` on the same write
    leave a part of the bytes and then end the process.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, strict=True)
    rules: tuple[FaultRule, ...] = ()

    def to_json(self) -> str:
        """This plan as JSON text that :meth:`from_json` reads."""
        return self.model_dump_json(indent=2, exclude_none=True)

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "given") -> Self:
        """The plan in ``text``; ``source`` names it in the error.

        Raises:
            FaultPlanError: not JSON, or not a plan.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            faults = [
                ".".join(map(str, fault["loc"])) + ": " * bool(fault["loc"]) + fault["msg"]
                for fault in error.errors()
            ]
            raise FaultPlanError(source=source, detail="; ".join(faults)) from error

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """The plan in the file at ``path``.

        Raises:
            FaultPlanError: the file cannot be read, or is not a plan.
        """
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            raise FaultPlanError(source=path, detail=error.strerror or error) from error
        return cls.from_json(text, str(path))
