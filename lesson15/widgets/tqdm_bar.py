"""A progress bar by tqdm, in notebooks and in terminals."""

from __future__ import annotations

from typing import Any

from lesson15.models import ProgressInfo
from lesson15.progress import ProgressCallback


def tqdm_progress(**options: Any) -> ProgressCallback:
    """A callback for ``processor.progress_callbacks`` that shows a bar.

    ``options`` go to ``tqdm.auto.tqdm``, which draws a widget in a notebook and text elsewhere.
    The bar is made by the first update and closes itself when all documents are settled.

    Example:
        >>> processor.progress_callbacks.append(tqdm_progress())
    """
    from tqdm.auto import tqdm

    bar: Any = None

    def show(info: ProgressInfo) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(desc=info.batch_id, unit="doc", initial=0, **options)
        settled = info.completed + info.failed
        bar.total = info.total or None  # not counted yet
        bar.set_postfix(failed=info.failed, refresh=False)
        bar.update(settled - bar.n)
        if 0 < info.total <= settled:
            bar.close()
            bar = None

    return show
