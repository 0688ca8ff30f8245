"""Live control of the faults of a batch, from any thread or process, by two files in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import orjson

from lesson15.checkpoint.filesystem import OsFileSystem, replace_file
from lesson15.checkpoint.layout import BatchFolder
from lesson15.errors import FaultPlanError, StorageError
from lesson15.faults.plan import FaultPlan


class FaultControl:
    """The plan of one batch, and the count of faults that it caused.

    Only a run that was started with ``faults=`` (or ``--faults``) looks at the plan, about every
    50 ms; any other run cannot be made to fail by it.

    Args:
        state_dir: folder of all batches' state.
        batch_id: the batch, which need not exist yet.

    Raises:
        InvalidBatchIdError: ``batch_id`` could not be a batch's.
    """

    def __init__(self, state_dir: Path | str, batch_id: str) -> None:
        folder = BatchFolder.of(state_dir, batch_id)
        self.batch_id = batch_id
        self.path = folder.root / "faults.json"
        self.fired_path = folder.root / "faults-fired.json"

    @property
    def plan(self) -> FaultPlan:
        """The plan in force; empty if none was set. Raises FaultPlanError on a damaged file."""
        try:
            return FaultPlan.load(self.path)
        except FaultPlanError:
            if self.path.exists():
                raise
            return FaultPlan()

    def set(self, plan: FaultPlan) -> None:
        """Put ``plan`` in force, in place of the one before; its counts begin anew.

        Raises:
            StorageError: the file cannot be written.
        """
        self._replace(self.path, plan.to_json().encode())

    def clear(self) -> None:
        """Let no more faults strike, and let go what hangs.

        Raises:
            StorageError: the file cannot be removed.
        """
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(path=self.path, detail=error) from error

    @property
    def fired(self) -> dict[str, int]:
        """How often faults struck in this batch, by "point:kind"; at most 0.3 s old."""
        try:
            return dict(orjson.loads(self.fired_path.read_bytes()))
        except (OSError, ValueError):  # none yet, or lost: it is information only
            return {}

    def record_fired(self, counts: Mapping[str, int]) -> None:
        """Publish ``counts`` for :attr:`fired`; raises StorageError."""
        self._replace(self.fired_path, orjson.dumps(counts))

    def _replace(self, path: Path, data: bytes) -> None:
        fs = OsFileSystem()
        try:
            fs.make_folder(path.parent)
            replace_file(fs, path, data)
        except OSError as error:
            raise StorageError(path=path, detail=error) from error
