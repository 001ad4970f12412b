"""Progress bars, where a person looks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(items: Iterable | None = None, *, hidden: bool = False, **options: Any) -> tqdm:
    """tqdm's bar on a terminal; in a file or a pipe, with --quiet and if `hidden` the same without a bar."""
    hidden = hidden or bool(os.environ.get("TQDM_DISABLE")) or not (sys.stderr and sys.stderr.isatty())
    return tqdm(items, disable=hidden, dynamic_ncols=True, **options)
