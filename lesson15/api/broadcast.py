"""One sender, many listeners: each batch's newest message, serialised once for all of them.

There is no queue to fill: a listener that is still sending the last message when the next ones
come finds only the newest when it is done. Progress is a reading, not a log, so nothing is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator


class Channel:
    """The newest message about one batch, for any number of listeners on one event loop."""

    def __init__(self) -> None:
        self.listeners = 0
        self.is_closed = False
        self._latest: bytes | None = None
        self._version = 0
        self._changed = asyncio.Event()

    def publish(self, message: bytes) -> None:
        """Make ``message`` the newest; one like it is not sent again."""
        if message != self._latest:
            self._latest = message
            self._version += 1
            self._wake()

    def close(self) -> None:
        """End every listener, once it has the newest message."""
        self.is_closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(self, idle_seconds: float) -> AsyncIterator[bytes | None]:
        """Yield each newest message; None after ``idle_seconds`` without one."""
        self.listeners += 1
        seen = 0
        try:
            while True:
                if self._version > seen and self._latest is not None:
                    seen = self._version
                    yield self._latest
                elif self.is_closed:
                    return
                else:
                    try:
                        async with asyncio.timeout(idle_seconds):
                            await self._changed.wait()
                    except TimeoutError:
                        yield None
        finally:
            self.listeners -= 1
