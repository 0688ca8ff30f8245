"""What happened in a universe, in sentences, and the file that makes it again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from lesson15.errors import UsageError
from lesson15.simulation.choices import Value
from lesson15.simulation.universe import Outcome

_FORMAT = 1
_NAMES = [
    (re.compile(r"\bmain\b"), "the event loop"),
    (re.compile(r"\bcommit_0(?:#\d+)?"), "the commit thread"),
    (re.compile(r"\basyncio_(\d+)(?:#\d+)?"), r"helper thread \1"),
    (re.compile(r"\bembed-(\d+)(?:#\d+)?"), r"embedding thread \1"),
    (re.compile(r"\bparser-(\d+)(?:#\d+)?"), r"parser \1"),
    (re.compile(r"\b(operator|reader|rival)(?:#\d+)?"), r"the \1"),
]
_SETTINGS = re.compile(r"^(?:life \d+: )?(?!main|after )[a-z ]+ 1$")


def tell(outcome: Outcome) -> str:
    """The story of a universe: its settings, what happened in each life, and what was broken."""
    lines = [f"Universe {outcome.seed}: {_setting(outcome)}", ""]
    life = 0
    for number, seconds, actor, text in outcome.story:
        if number != life:
            life = number
            lines.append(f"Life {life}")
        who = f"{_named(actor)} " if actor else ""
        lines.append(f"{seconds:10.3f} s  {who}{_named(text)}")
    verdict = outcome.violation or "nothing was lost, nothing was done twice, all agree"
    return "\n".join(
        [*lines, "", f"Broken: {verdict}" if outcome.violation else f"Held: {verdict}"]
    )


def _named(text: str) -> str:
    for pattern, name in _NAMES:
        text = pattern.sub(name, text)
    return text


def _setting(outcome: Outcome) -> str:
    decisions = [
        f"{key.removesuffix(' 1')} {value}"
        for key, value in outcome.choices.items()
        if _SETTINGS.match(key)
    ]
    return "; ".join(decisions) or "the smallest there is, and calm"


def save(outcome: Outcome, path: Path) -> None:
    """Write what makes the universe again; raises OSError."""
    content = {
        "lesson15_universe": _FORMAT,
        "seed": outcome.seed,
        "violation": outcome.violation,
        "choices": outcome.choices,
    }
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))


def load(path: Path) -> tuple[int, dict[str, Value]]:
    """The seed and the decisions of the universe in the file at ``path``.

    Raises:
        UsageError: it is no such file.
    """
    try:
        content: Any = orjson.loads(path.read_bytes())
        if content["lesson15_universe"] != _FORMAT:
            raise ValueError(f"its format is {content['lesson15_universe']!r}, not {_FORMAT}")
        return int(content["seed"]), dict(_checked(content["choices"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            problem=f"{path} is not a universe that can be run again ({error}): give a file that "
            "`lesson15 simulate` has written."
        ) from error


def _checked(choices: dict[str, Any]) -> Iterator[tuple[str, Value]]:
    for key, value in choices.items():
        if not isinstance(value, int | float | str):
            raise TypeError(f"the decision {key!r} is {value!r}")
        yield key, value
