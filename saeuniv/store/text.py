"""Small files, written whole or not at all."""

import os
import secrets
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Put a file in the place of another at once: whoever reads finds the old one or the new one.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
