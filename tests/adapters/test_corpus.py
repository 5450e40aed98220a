"""Documents, their split and what is wrong with a text."""

import subprocess
import sys
import time

import pytest

from saeuniv.adapters import corpus, stdlib_text, text_faults
from saeuniv.config import Documents, StdlibData, TextData


@pytest.fixture(scope="module")
def stdlib() -> corpus.Corpus:
    return corpus.read_corpus(StdlibData())


@pytest.fixture
def texts(tmp_path):
    for number in range(20):
        (tmp_path / f"d{number:02}.txt").write_text(f"document {number} " * 20)
    return tmp_path


def test_the_embedded_corpus_has_the_size_that_was_measured(stdlib):
    documents = stdlib.training + stdlib.held_out
    assert 400 < len(documents) < 800
    assert 1.5e6 < sum(len(document.text) for document in documents) < 3e6
    names = {document.name for document in documents}
    assert {"topics/assert", "json/decoder.py", "pathlib.py"} <= names
    assert not any(part in name.split("/") for name in names for part in ("site-packages", "test", "idlelib"))


def test_the_split_is_by_the_hash_of_the_document_and_by_nothing_else(stdlib):
    order = [document.sha256 for document in stdlib.held_out + stdlib.training]
    assert order == sorted(order)
    assert len(stdlib.held_out) == round(0.3 * len(order))


def test_no_held_out_text_is_in_training_not_even_as_a_copy(stdlib):
    training = {document.text for document in stdlib.training}
    held_out = {document.text for document in stdlib.held_out}
    assert not training & held_out
    assert len(training) + len(held_out) == len(stdlib.training) + len(stdlib.held_out)


def test_docstrings_are_those_of_ast_walk():
    """The slow way: every node of the tree; sources with nested and conditional definitions."""
    import argparse
    import ast
    import contextlib
    import inspect

    for module in (argparse, contextlib, inspect):
        source = inspect.getsource(module)
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
        expected = [text for node in nodes if len(text := ast.get_docstring(node) or "") > 80]
        assert list(stdlib_text._docstrings(source.encode())) == expected and expected


def test_docstrings_below_if_try_with_and_match_are_found():
    long = "a docstring that is long enough to say something of its own, and then some more of it"
    source = f"""
if x:
    def a(): "{long} a"
else:
    try:
        class B: "{long} b"
    except OSError:
        def c(): "{long} c"
    finally:
        with y:
            match z:
                case 1:
                    async def d(): "{long} d"
"""
    assert sorted(text[-1] for text in stdlib_text._docstrings(source.encode())) == list("abcd")


def test_a_file_that_is_no_source_for_this_interpreter_has_no_docstrings():
    assert list(stdlib_text._docstrings(b"print 'Python 2'")) == []
    assert list(stdlib_text._docstrings(b"\x00")) == []


def test_reading_twice_gives_the_same_corpus(texts):
    assert corpus.read_corpus(TextData(path=str(texts))) == corpus.read_corpus(TextData(path=str(texts)))


def test_duplicates_are_one_document(texts):
    before = corpus.read_corpus(TextData(path=str(texts)))
    (texts / "copy.md").write_text((texts / "d03.txt").read_text())
    after = corpus.read_corpus(TextData(path=str(texts)))
    assert (after.sha256, len(after.held_out)) == (before.sha256, 20)


def test_the_order_of_files_does_not_enter(tmp_path, texts):
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number, path in enumerate(sorted(texts.glob("*.txt"), reverse=True)):
        path.rename(renamed / f"{number}.txt")
    data = TextData(path=str(renamed), held_out=0.3)
    split = corpus.read_corpus(data)
    assert [len(split.held_out), len(split.training)] == [6, 14]
    assert [d.sha256 for d in split.held_out + split.training] == sorted(
        d.sha256 for d in split.held_out + split.training
    )


@pytest.mark.parametrize(("held_out", "expected"), [(1.0, 20), (0.3, 6), (0.01, 1), (0.125, 2)])
def test_the_number_held_out_is_rounded_and_at_least_one(texts, held_out, expected):
    split = corpus.read_corpus(TextData(path=str(texts), held_out=held_out))
    assert len(split.held_out) == expected and len(split.training) == 20 - expected


def test_a_line_can_be_a_document(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("one\n\n  \ntwo\none\n")
    read = corpus.read_corpus(TextData(path=str(path), document=Documents.line))
    assert {document.name: document.text for document in read.held_out} == {
        "lines.txt:1": "one",
        "lines.txt:4": "two",
    }


def test_the_fingerprint_of_the_standard_library_is_fast_and_stable():
    start = time.process_time()
    first = corpus.fingerprint(StdlibData())
    assert time.process_time() - start < 0.5
    assert first == corpus.fingerprint(StdlibData(held_out=0.5)), "the split is keyed by its own setting"


def test_the_fingerprint_of_files_changes_with_a_byte_a_name_and_a_file(texts):
    data = TextData(path=str(texts))
    seen = [corpus.fingerprint(data)]
    (texts / "d00.txt").write_text("other")
    seen.append(corpus.fingerprint(data))
    (texts / "d00.txt").rename(texts / "e00.txt")
    seen.append(corpus.fingerprint(data))
    (texts / "new.md").write_text("new")
    seen.append(corpus.fingerprint(data))
    (texts / "ignored.py").write_text("new")
    assert len(set(seen)) == 4 and corpus.fingerprint(data) == seen[-1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.txt", None, "expected a text file, or a folder with .* found nothing at"),
        ("folder/x.py", b"x", "expected a text file, or a folder with .* found a folder without them"),
        ("empty.txt", b"", "expected text, got only empty files"),
        ("binary.txt", b"text\0" * 200, "expected plain text, got a binary file .NUL bytes"),
        ("latin.txt", "Müller ".encode("latin-1") * 100, "expected UTF-8 text, got a file that is not"),
        (
            "short.txt",
            b"x" * 127,
            "at least one sequence .data.context_length=128 tokens., got at most 127 bytes",
        ),
    ],
)
def test_bad_text_is_described(tmp_path, name, content, message):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if content is not None:
        path.write_bytes(content)
    path = path.parent if "/" in name else path
    (fault,) = text_faults.text_faults(TextData(path=str(path)))
    assert fault.startswith(f"data.path={path}: ")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(fault)


def test_every_bad_file_of_a_folder_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\0")
    (tmp_path / "b.md").write_bytes(b"\xff")
    faults = text_faults.text_faults(TextData(path=str(tmp_path)))
    assert len(faults) == 2 and "a.txt" in faults[0] and "b.md" in faults[1]


def test_short_lines_are_short_documents(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("a line of forty characters, or nearly so\n" * 100)
    (tmp_path / "more.txt").write_text(path.read_text())
    assert text_faults.text_faults(TextData(path=str(tmp_path), held_out=1.0)) == ()
    (fault,) = text_faults.text_faults(TextData(path=str(path), document=Documents.line))
    assert "at most 40 bytes in a line" in fault and "data.document=file" in fault


def test_good_text_has_no_faults(texts):
    assert text_faults.text_faults(TextData(path=str(texts))) == text_faults.text_faults(StdlibData()) == ()


def test_a_python_without_its_sources_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(stdlib_text.sysconfig, "get_path", lambda _name: str(tmp_path))
    (fault,) = text_faults.text_faults(StdlibData())
    assert "some distributions strip them" in fault and "data=text" in fault
    with pytest.raises(ValueError, match="some distributions strip them"):
        corpus.read_corpus(StdlibData())


def test_folders_and_corpus_import_nothing_heavy():
    code = (
        "import saeuniv.adapters.folders, saeuniv.adapters.text_faults, sys;"
        "heavy = {'pyarrow', 'datasets', 'torch', 'transformers', 'tokenizers', 'huggingface_hub', 'numpy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
