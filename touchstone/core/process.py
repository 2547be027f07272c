"""Settings of the Python process that runs stages or serves pages, whichever program started it."""

from __future__ import annotations

import atexit
import functools
import gc


@functools.cache
def tune_garbage_collector() -> None:
    """Makes Python collect garbage rarely, and not at all when the process exits.

    Libraries create millions of objects that live as long as the process, and each full collection traverses all of them.
    """
    gc.set_threshold(500_000)  # saves about 7 s of a run of the demo of 80 s, with the next line (docs/performance.md)
    atexit.register(gc.freeze)
