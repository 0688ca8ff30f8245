"""Writes requirements/*.txt: the versions installed now of everything that pyproject.toml needs."""

from __future__ import annotations

import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent


def closure(requirements: list[str]) -> dict[str, str]:
    """Name and version of ``requirements`` and of all that they need, for this platform."""
    pins: dict[str, str] = {}
    stack = [Requirement(text) for text in requirements]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while stack:
        wanted = stack.pop()
        key = (wanted.name.lower().replace("_", "-"), tuple(sorted(wanted.extras)))
        if key in seen:
            continue
        seen.add(key)
        found = distribution(wanted.name)
        name = found.metadata["Name"].lower().replace("_", "-")
        pins[name] = found.version.split("+")[0]
        for text in found.requires or []:
            needed = Requirement(text)
            extras = [*wanted.extras, ""]
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
                stack.append(needed)
    return pins


def write(name: str, head: str, pins: dict[str, str], without: dict[str, str]) -> None:
    """Write one file, leaving out what another one pins already."""
    lines = [f"{key}=={value}" for key, value in sorted(pins.items()) if key not in without]
    (ROOT / "requirements" / name).write_text("\n".join([head, *lines, ""]))


def main() -> None:
    """Write torch, base, dev and bench."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = project["dependencies"]
    base = closure(needed)
    torch = {"torch": base["torch"]}
    write("torch.txt", "# Installed first, so that nothing else chooses a torch.", torch, {})
    write("base.txt", "# What lesson15 needs. Written by `make lock`.", base, torch)
    tested = ("dev", "chroma", "course", "service", "distributed")
    dev = closure([text for name in tested for text in extras[name]])
    write(
        "dev.txt", "# What the tests need besides. Written by `make lock`.\n-r base.txt", dev, base
    )
    bench = closure(needed + extras["bench"])
    head = "# What benchmarks/ compares with. Written by `make lock`.\n-r base.txt"
    write("bench.txt", head, bench, base)


if __name__ == "__main__":
    main()
