"""What is wrong with a text source, as far as can be seen without a tokenizer (no torch)."""

import re
from itertools import islice

from saeuniv.adapters.corpus import text_files, where_of
from saeuniv.adapters.documents import documents_of
from saeuniv.adapters.hub_text import hub_text
from saeuniv.adapters.records import TextFile
from saeuniv.adapters.stdlib_text import stdlib_sources
from saeuniv.config import ConfigError, Data, Documents, FileData, HubData, Packing, StdlibData

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
    longest, n_bytes, whole = 0, 0, True
    for file in files:
        n_documents = 0
        try:
            for each in islice(documents_of(file, data), _LOOKED_AT):
                n_documents += 1
                size = len(each.text.encode())
                longest, n_bytes = max(longest, size), n_bytes + size
        except re.error:
            return []  # The rules of the configuration say so.
        except ValueError as error:
            faults.append(_named(str(error), data))
        whole &= n_documents < _LOOKED_AT
    if faults or not whole:
        return faults
    if not longest:
        return [f"{where_of(data)}: expected text, got only empty files."]
    if data.packing is Packing.concatenated:
        longest = n_bytes
    # Templates add to what is said.
    if longest < data.context_length and data.messages_key is None:
        unit = data.document.value if all(file.is_plain for file in files) else "record"
        remedy = "choose data.document=file, " if data.document is Documents.line else ""
        return [
            f"{where_of(data)}: expected a document of at least one sequence "
            f"(data.context_length={data.context_length} tokens), got at most {longest} bytes in a {unit}. "
            f"Give longer text, {remedy}or lower data.context_length."
        ]
    return []


def _named(fault: str, data: Data) -> str:
    """The fault, beginning with a key of the configuration."""
    return fault if fault.startswith("data.") else f"{where_of(data)}: {fault}"
