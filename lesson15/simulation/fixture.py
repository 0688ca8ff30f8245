"""The fixture ``universes``: your embedder and your steps in universes, within your own tests.

Name it in ``conftest.py``::

    pytest_plugins = ["lesson15.simulation.fixture"]

and use it in a test::

    def test_my_parts(universes):
        universes(50, make_embedder=lambda threads: MyEmbedder(), steps=[my_step])
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lesson15.simulation.search import SEED_VARIABLE, first_seed, search
from lesson15.simulation.story import save, tell


@pytest.fixture
def universes(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """``universes(count, seed=None, **options)`` fails the test if one of ``count`` universes
    breaks a promise, with the story of the smallest that does.

    ``options`` are those of :func:`lesson15.simulation.run_universe`. Without a ``seed`` the seeds
    change from day to day; LESSON15_UNIVERSE_SEED sets the first one.
    """

    def run(count: int = 20, seed: int | None = None, **options: Any) -> None:
        first = first_seed() if seed is None else seed
        record_property("first_universe", first)
        print(f"{count} universes from {SEED_VARIABLE}={first} on")
        found = search(range(first, first + count), **options)
        if found is None:
            return
        path = Path(tempfile.gettempdir()) / f"universe-{found.first.seed}.json"
        save(found.smallest, path)
        pytest.fail(
            f"{tell(found.smallest)}\n\nTo run it again: {SEED_VARIABLE}={found.first.seed}, or "
            f"lesson15.simulation.load({str(path)!r})",
            pytrace=False,
        )

    return run
