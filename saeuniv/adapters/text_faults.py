"""What is wrong with a text source, as far as can be seen without a tokenizer (no torch)."""

import re
from itertools import islice

from saeuniv.adapters.corpus import text_files, where_of
from saeuniv.adapters.documents import documents_of
from saeuniv.adapters.hub_text import hub_text
from saeuniv.adapters.records import TextFile
from saeuniv.adapters.stdlib_text import stdlib_sources
from saeuniv.config import (
    ConfigError,
    Data,
    Documents,
    FileData,
    HubData,
    Packing,
    StdlibData,
    TextData,
)

# Records of a file that are looked at before anything runs.
_LOOKED_AT = 1000


def text_faults(data: Data) -> tuple[str, ...]:
    """What is wrong with a text source, as sentences; of each file the first records are read.

    Missing, empty, damaged or binary files, keys that records lack, and text too short for one sequence:
    a token covers at least one byte, so a document of fewer bytes than `context_length` holds none.
    Of a hub's files those in the cache are read; the hub is asked for its list of them, once.
    """
    try:
        if isinstance(data, StdlibData):
            stdlib_sources()
            return ()
        files = hub_text(data).cached_files() if isinstance(data, HubData) else text_files(data)
    except ConfigError as error:
        return error.faults
    except ValueError as error:
        return (str(error),)
    assert isinstance(data, FileData)
    return tuple(_faults(data, files)) if files else ()


def _faults(data: FileData, files: list[TextFile]) -> list[str]:
    faults: list[str] = []
    sizes: list[int] = []
    whole = True
    for file in files:
        try:
            found = [len(each.text.encode()) for each in islice(documents_of(file, data), _LOOKED_AT)]
        except re.error:
            return []  # The rules of the configuration say so.
        except ValueError as error:
            faults.append(_named(str(error), data))
            continue
        whole &= len(found) < _LOOKED_AT
        sizes += found
    return faults if faults or not whole else _too_short(data, files, sizes[: data.max_documents])


def _too_short(data: FileData, files: list[TextFile], sizes: list[int]) -> list[str]:
    """What documents of these numbers of bytes lack; they are all there are."""
    longest = max(sizes, default=0)
    if not longest:
        return [f"{where_of(data)}: expected text, got only empty files."]
    # Templates add to what is said.
    if data.messages_key is not None:
        return []
    longest = longest if data.packing is Packing.document else sum(sizes)
    # Padding that is kept makes rows of any text.
    if longest < data.context_length and data.mask_padding:
        unit = data.document.value if all(file.is_plain for file in files) else "record"
        remedy = "choose data.document=file, " if data.document is Documents.line else ""
        return [
            f"{where_of(data)}: expected a document of at least one sequence "
            f"(data.context_length={data.context_length} tokens), got at most {longest} bytes in a {unit}. "
            f"Give longer text, {remedy}or lower data.context_length."
        ]
    # Of a hub's files some may not be here yet.
    return _too_few(data, files, sizes) if isinstance(data, TextData) else []


def _too_few(data: TextData, files: list[TextFile], sizes: list[int]) -> list[str]:
    """Whether fewer than two documents can be held out that fill a sequence."""
    least = data.context_length if data.packing is Packing.document else 1
    n_held_out = max(round(data.held_out * len(sizes)), 1)
    most = min(n_held_out, sum(size >= least for size in sizes))
    # A wrong fraction or limit is told by the rules of the configuration.
    if most >= 2 or not 0 < data.held_out <= 1 or data.max_documents == 1:
        return []
    remedies = ["Give more documents"]
    remedies += [f"raise data.held_out={data.held_out}"] if data.held_out < 1 and len(sizes) > 1 else []
    is_plain = all(file.is_plain for file in files)
    remedies += ["choose data.document=line"] if is_plain and data.document is Documents.file else []
    return [
        f"{where_of(data)}: expected at least 2 held-out documents of one sequence "
        f"(data.context_length={data.context_length} tokens; halves are of documents), got at most {most} of "
        f"{len(sizes)}. {', or '.join(remedies)}."
    ]


def _named(fault: str, data: Data) -> str:
    """The fault, beginning with a key of the configuration."""
    return fault if fault.startswith("data.") else f"{where_of(data)}: {fault}"
