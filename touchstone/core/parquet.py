"""Reads small Parquet files without threads, for commands that print something and exit.

Arrow's readers leave threads behind. A process that exits while one of them is still starting is aborted by the C++ runtime
("terminate called without an active exception", pyarrow 25: eight of twelve calls of `touchstone lists show`). Large files are
read in bounded memory by the code that needs them.
"""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def read_small_parquet(source: Path | bytes) -> pa.Table:
    """Returns all rows of a Parquet file without starting a thread.

    Args:
        source: The file, or its content.
    """
    with pq.ParquetFile(io.BytesIO(source) if isinstance(source, bytes) else source, pre_buffer=False) as file:
        return file.read(use_threads=False)
