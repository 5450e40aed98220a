"""What to cite: this software, the paper whose question it answers, and what a sweep was made with."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from saeuniv.sweep.sharing.used import Used

_PACKAGE = Path(__file__).resolve().parents[2]
_NAME = "CITATION.cff"
_ARXIV = re.compile(r"arxiv\.org/abs/([\d.]+)")


def citation() -> str:
    """BibTeX of the software and of the paper, as CITATION.cff has them."""
    # In a wheel it lies inside the package; in a checkout and an editable installation beside it.
    path = next(each for each in (_PACKAGE / _NAME, _PACKAGE.parent / _NAME) if each.is_file())
    cff = cast(Mapping[str, Any], OmegaConf.to_container(OmegaConf.load(path)))
    software = {
        "title": cff["title"],
        "author": _authors(cff["authors"]),
        "version": cff["version"],
        "license": cff["license"],
    }
    entries = [_entry("software", "saeuniv", software)]
    for reference in cff["references"]:
        about = {
            "title": reference["title"],
            "author": _authors(reference["authors"]),
            "year": reference["year"],
            "url": reference["url"],
        }
        if found := _ARXIV.search(str(reference["url"])):
            about |= {"eprint": found[1], "archivePrefix": "arXiv"}
        first = str(reference["authors"][0].get("family-names", "")).lower()
        entries.append(_entry("article", f"{first}{reference['year']}", about))
    return "\n\n".join(entries)


def sources_text(sources: Sequence[Used]) -> Iterator[str]:
    """A line for each model, dictionary and text; those of hubs with their repositories and revisions."""
    width = max((len(each.role) for each in sources), default=0)
    for each in sources:
        if each.repository:
            place = f"https://huggingface.co/{each.repository}, revision {each.revision or 'unknown'}"
        else:
            place = each.folder or "made here"
        yield f"{each.role:<{width}}  {each.label}  {place}"


def _authors(authors: Sequence[Mapping[str, str]]) -> str:
    # A name of a group is one name: braces keep BibTeX from taking it apart.
    names = (each.get("family-names") or f"{{{each['name']}}}" for each in authors)
    return " and ".join(names)


def _entry(kind: str, key: str, about: Mapping[str, object]) -> str:
    lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in about.items())
    return f"@{kind}{{{key},\n{lines}\n}}"
