"""What a caller asks batches to be made with, and whether that fits a batch that is there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lesson15 import stores
from lesson15.checkpoint.state_files import Manifest
from lesson15.documents import chunkers
from lesson15.documents.chunkers import open_chunker
from lesson15.embedding import Embedder, canonical_name, check_embedder, dimensions_of
from lesson15.engine.feed import Paths
from lesson15.engine.steps import ChunkStep, check_steps, name_of, open_steps
from lesson15.engine.versions import versions_of
from lesson15.errors import SettingsMismatchError
from lesson15.models import ScanRules
from lesson15.plugins import Group, check_name
from lesson15.settings import Settings

PARTS = ("embedder", "store", "chunker", "steps", "chunk_chars", "chunk_overlap_chars")
"""The fields of a manifest that a recipe decides on."""


@dataclass(frozen=True)
class Recipe:
    """What new batches are made with: what the caller gave, None for what the settings say.

    Attributes:
        settings: of the engine.
        embedder: a name or an object.
        store: a name.
        chunker: a name.
        steps: names and functions.
        rules: which files of a folder are documents.
    """

    settings: Settings
    embedder: str | Embedder | None = None
    store: str | None = None
    chunker: str | None = None
    steps: Sequence[str | ChunkStep] | None = None
    rules: ScanRules = field(default_factory=ScanRules)

    def check(self) -> None:
        """Check every name, without loading anything.

        Raises:
            UsageError: there is no part of a name.
        """
        settings = self.settings
        check_embedder(settings.embedder if self.embedder is None else self.embedder)
        check_name(Group.STORES, self.store or settings.store, stores.BUILT_IN)
        check_name(Group.CHUNKERS, self.chunker or settings.chunker, chunkers.BUILT_IN)
        check_steps(settings.steps if self.steps is None else self.steps)

    def manifest(self, batch_id: str, paths: Paths) -> Manifest:
        """The manifest of a new batch of ``paths``; a remote embedder is asked for its dimensions.

        Raises:
            UsageError: a part is broken.
        """
        settings = self.settings
        embedder = self.embedder or settings.embedder
        manifest = Manifest(
            batch_id=batch_id,
            created_at=datetime.now(UTC),
            base_dir=str(Path.cwd()),
            sources=[os.fspath(path) for path in paths] if isinstance(paths, Sequence) else None,
            embedder=name_of_embedder(embedder),
            dimensions=dimensions_of(embedder),
            store=self.store or settings.store,
            chunk_chars=settings.chunk_chars,
            chunk_overlap_chars=settings.chunk_overlap_chars,
            chunker=self.chunker or settings.chunker,
            steps=settings.steps if self.steps is None else tuple(map(name_of, self.steps)),
            scan=self.rules,
        )
        return self._complete(manifest)

    def again(self, manifest: Manifest) -> Manifest:
        """The manifest of the same batch, done again with what was asked for expressly.

        Raises:
            UsageError: a part is broken.
        """
        asked = self._asked(self.settings)
        embedder = self.embedder or self.settings.given("embedder") or manifest.embedder
        asked["dimensions"] = dimensions_of(embedder)  # which may be others under the same name
        return self._complete(manifest.model_copy(update={**asked, "identity": None}))

    def _complete(self, manifest: Manifest) -> Manifest:
        """``manifest`` with the versions of its parts, once they are known to work."""
        open_chunker(manifest.chunker)  # a broken plugin leaves no batch behind
        open_steps(manifest.steps if self.steps is None else self.steps, 1)
        return manifest.model_copy(update={"versions": versions_of(manifest)})

    def check_fits(self, manifest: Manifest, *, by_settings: bool) -> None:
        """Check that the batch of ``manifest`` was made with what is asked for expressly.

        Args:
            manifest: of a batch that is to be gone on with.
            by_settings: whether what the environment or the caller's settings say counts, too;
                else they are for new batches only.

        Raises:
            SettingsMismatchError: it was not.
        """
        for name, value in self._asked(self.settings if by_settings else None).items():
            stored = getattr(manifest, name)
            if value != stored:
                raise SettingsMismatchError(
                    batch_id=manifest.batch_id, name=name, stored=stored, given=value
                )

    def _asked(self, settings: Settings | None) -> dict[str, Any]:
        """What was given, and what ``settings`` were given, by field of the manifest."""
        asked: dict[str, Any] = {}
        for name in PARTS:
            value = getattr(self, name, None)
            if value is None and settings is not None:
                value = settings.given(name)
            if value is None:
                continue
            if name == "embedder":
                value = name_of_embedder(value)
            elif name == "steps":
                value = tuple(map(name_of, value))
            asked[name] = value
        return asked


def name_of_embedder(embedder: str | Embedder) -> str:
    """The name that a manifest has for ``embedder``; raises UnknownNameError."""
    return canonical_name(embedder) if isinstance(embedder, str) else embedder.name
