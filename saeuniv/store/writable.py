"""Whether a folder can hold a store."""

import os
import tempfile
from pathlib import Path


def check_writable(root: Path) -> str | None:
    """Why artifacts cannot be stored below `root`, as a sentence; None if they can. Creates nothing."""
    path = root.absolute()
    while not os.path.lexists(path):
        path = path.parent
    where = f"store={root}: expected a folder that exists or can be created and written to"
    if not path.is_dir():
        return f"{where}, but {path} is not a folder. Choose another folder: store=..."
    try:
        # A file without a name where the system has such: permissions alone say nothing of read-only disks.
        with tempfile.TemporaryFile(dir=path):
            return None
    except OSError as error:
        return f"{where}, but {path} is not writable ({error.strerror}). Choose another folder: store=..."
