"""Beyond one machine: a batch cut into shards, run by Celery workers, merged into one index.

The broker only carries work to workers; what is true lies in files that all machines share, and
one coordinator decides. So a broker that loses messages or delivers them twice costs time and
nothing else.
"""

from __future__ import annotations

from lesson15.distributed.processor import DistributedProcessor

__all__ = ["DistributedProcessor"]
