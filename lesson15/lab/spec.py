"""What a session asks of the engine, as plain values that can cross a pipe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lesson15.checkpoint.layout import BatchFolder
from lesson15.checkpoint.state_files import Manifest
from lesson15.documents.scan import check_paths, scan
from lesson15.engine.feed import Naming
from lesson15.host.protocol import Request


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """One batch and how it is to be run. ``paths`` may be left empty for a batch that exists."""

    batch_id: str
    state_dir: str
    paths: list[str]
    max_concurrent: int = 4
    checkpoint_interval: int = 10
    embedder: str | None = None
    store: str | None = None
    retry_delay: float = 0.1

    @property
    def exists(self) -> bool:
        """Whether the batch has a checkpoint, so that it can be resumed."""
        return BatchFolder.of(self.state_dir, self.batch_id).checkpoint.exists()

    def of_batch(self, manifest: Manifest) -> BatchSpec:
        """This spec with the paths, embedder and store that its batch was made with."""
        naming = Naming(manifest.base_dir)
        paths = [naming.path(source) for source in manifest.sources or []]
        return replace(self, paths=paths, embedder=manifest.embedder, store=manifest.store)

    def request(self, paths: list[str] | None, *, is_retry: bool) -> Request:
        """What a host is asked for, on ``paths`` or on those that the batch was made of."""
        options: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("state_dir", "max_concurrent", "checkpoint_interval", "embedder", "store")
        }
        settings = {"state_dir": self.state_dir, "retry_delay": self.retry_delay}
        return Request(
            self.batch_id, paths, settings, options, is_retry=is_retry, obeys_faults=True
        )

    def doc_ids(self, base_dir: str | None) -> list[str]:
        """The ids of the batch's documents, in the order in which they are fed.

        Args:
            base_dir: what they are relative to, None for a batch that does not exist yet.

        Raises:
            PathNotFoundError: a path of a new batch is not there.
        """
        paths = self.paths
        if base_dir is None:
            check_paths(paths)
        else:
            paths = [path for path in paths if Path(path).exists()]
        naming = Naming(base_dir or str(Path.cwd()))
        return list(dict.fromkeys(naming.doc_id(path) for path in scan(paths)))
