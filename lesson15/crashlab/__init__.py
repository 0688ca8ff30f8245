"""Every disk that a power cut may leave behind, and who loses what on it.

    >>> from lesson15 import crashlab
    >>> def work(folder, promise):
    ...     for number in range(3):
    ...         (folder / "state").write_text(str(number))
    ...         promise(number)
    >>> def recover(folder):
    ...     return int((folder / "state").read_text()) if (folder / "state").exists() else None
    >>> result = crashlab.explore(work, recover)
    >>> result.is_safe
    False
    >>> print(result)  # doctest: +SKIP

See ``docs/crashlab.md``.
"""

from lesson15.crashlab.disk import Disk
from lesson15.crashlab.exploring import explore
from lesson15.crashlab.oracles import everything, latest
from lesson15.crashlab.result import Loser, Result

__all__ = ["Disk", "Loser", "Result", "everything", "explore", "latest"]
