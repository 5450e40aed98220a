"""The categories of words that come with the package."""

from functools import cache
from pathlib import Path

_CATEGORIES = Path(__file__).parent / "categories"


def categories() -> tuple[str, ...]:
    """The categories that come with the package, by name: files of words, one a line."""
    return tuple(sorted(file.stem for file in _CATEGORIES.glob("*.txt")))


@cache
def category_words(category: str) -> tuple[str, ...]:
    """The words of a category of the package; lines that begin with # are remarks."""
    lines = (_CATEGORIES / f"{category}.txt").read_text("utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
