"""What a worker does with a shard: claim it, run the engine on it, show signs of life."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Self

from lesson15.checkpoint.encryption import Keyring
from lesson15.checkpoint.filesystem import OsFileSystem
from lesson15.checkpoint.manager import CheckpointManager
from lesson15.checkpoint.state_files import Manifest
from lesson15.distributed.queue import ShardTask
from lesson15.distributed.shards import Lease, ShardFileSystem, Shards
from lesson15.engine.assembly import Assembly
from lesson15.engine.feed import Naming
from lesson15.engine.processor import BatchProcessor
from lesson15.engine.work import DocumentWork
from lesson15.logs import get_logger
from lesson15.settings import Settings

log = get_logger(__name__)
_BEATS_A_LEASE = 5
_REST_SECONDS = 5.0


class ShardWorker:
    """Works on shards, one after the other, in one process.

    The event loop, the parser processes and the embedding model serve all shards of a batch.
    """

    def __init__(self, state_dir: Path | str, settings: Settings) -> None:
        self._batches = CheckpointManager(
            state_dir, keyring=Keyring.of(settings), makes_folder=False
        )
        self._settings = settings
        self._runner = asyncio.Runner()
        self._owner = f"pid {os.getpid()} on {socket.gethostname()}"
        self._tools: tuple[object, AsyncExitStack, DocumentWork] | None = None  # and their kind

    def work_on(self, task: ShardTask) -> None:
        """Work on the next shard of the batch that ``task`` names, if there is one."""
        folder = self._batches.folder(task.batch_id)
        if not folder.root.is_dir():
            log.error("no such batch in the state folder of this worker", batch_id=task.batch_id,
                      state_dir=str(self._batches.checkpoint_dir))  # fmt: skip
            return
        shards = Shards(folder, self._batches.keyring)
        claimed = shards.claim_next(self._owner)
        if claimed is None:
            return
        shard_id, lease = claimed
        try:
            self._run(task, shards, shard_id, lease)
        except Exception as error:
            if not shards.is_open(shard_id):
                log.info("shard was taken over", shard=shard_id)
                return
            log.exception("shard failed", shard=shard_id)
            message = f"{type(error).__name__}: {error}"
            with suppress(OSError):
                shards.renew(shard_id, replace(lease, has_ended=True, error=message))
            time.sleep(_REST_SECONDS)  # so that another worker tries it next

    def close(self) -> None:
        """End parser processes and the loop."""
        if self._tools is not None:
            self._runner.run(self._tools[1].aclose())
        self._runner.close()

    def _run(self, task: ShardTask, shards: Shards, shard_id: str, lease: Lease) -> None:
        if not shards.open.folder(shard_id).manifest.exists():
            return  # an offer: claiming it was the answer
        manifest = shards.open.open(shard_id).manifest
        processor = BatchProcessor(
            task.max_concurrent,
            task.checkpoint_interval,
            state_dir=shards.open.checkpoint_dir,
            settings=self._settings,
            work=self._work(manifest, task.max_concurrent),
            fs=ShardFileSystem(),
        )
        naming = Naming(manifest.base_dir)
        paths = [naming.path(doc_id) for doc_id in manifest.sources or []]
        interval = task.lease_seconds / _BEATS_A_LEASE
        with _Heart(shards, shard_id, lease, interval, on_lost=processor.cancel):
            # What is missing is judged by the batch itself, when it is whole.
            self._runner.run(processor.process_batch(paths, shard_id, resume=True, prune=True))
        shards.renew(shard_id, replace(lease, has_ended=True))

    def _work(self, manifest: Manifest, max_concurrent: int) -> DocumentWork:
        """Parser processes and model, kept as long as shards are of the same kind."""
        kind = (
            manifest.embedder, manifest.chunk_chars, manifest.chunk_overlap_chars,
            manifest.chunker, manifest.steps, manifest.identity, max_concurrent,
        )  # fmt: skip
        if self._tools is not None:
            if self._tools[0] == kind:
                return self._tools[2]
            self._runner.run(self._tools[1].aclose())
        stack = AsyncExitStack()
        parts = Assembly(self._settings, max_concurrent, OsFileSystem(), None, None)
        self._tools = kind, stack, parts.document_work(stack, manifest)
        return self._tools[2]


class _Heart:
    """Renews a lease from a thread of its own, and calls ``on_lost`` once the shard is closed."""

    def __init__(
        self,
        shards: Shards,
        shard_id: str,
        lease: Lease,
        interval: float,
        on_lost: Callable[[], None],
    ) -> None:
        self._shards = shards
        self._shard_id = shard_id
        self._lease = lease
        self._interval = interval
        self._on_lost = on_lost
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lesson15-heart", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _beat(self) -> None:
        for beat in count(1):
            if self._stopped.wait(self._interval):
                return
            try:
                self._shards.renew(self._shard_id, replace(self._lease, beat=beat))
            except FileNotFoundError:
                self._on_lost()  # again at each beat, in case the run was only about to begin
            except OSError as error:
                log.warning("no sign of life could be written", error=str(error))
