"""Records of *.jsonl and *.parquet as documents: keys, domains, conversations, and what can be wrong."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from saeuniv.adapters import corpus, text_faults
from saeuniv.adapters.documents import Turn, conversation
from saeuniv.config import Documents, Packing, TextData

ROWS = [
    {"text": f"document {number} " * 20, "meta": {"source": "web" if number % 2 else "code"}, "n": number}
    for number in range(6)
]
CHATS = [
    {"messages": [{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": "yes"}]}
    for n in range(3)
]
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")


def _write(path: Path, rows: list[dict]) -> Path:
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    elif path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines))
    elif path.name.endswith(".zst"):
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(lines)
    else:
        path.write_bytes(lines)
    return path


def _read(path: Path, **settings) -> dict[str, corpus.Document]:
    read = corpus.read_corpus(TextData(path=str(path), **settings))
    return {each.name: each for each in read.held_out}


def _fault(path: Path, **settings) -> str:
    data = TextData(path=str(path), **settings)
    (fault,) = text_faults.text_faults(data)
    with pytest.raises(ValueError):
        corpus.read_corpus(data)
    return fault


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_gives_the_same_documents(tmp_path, suffix):
    path = _write(tmp_path / f"a{suffix}", ROWS)
    read = _read(path, domain_key="meta.source")
    assert {name: each.text for name, each in read.items()} == {
        f"a{suffix}:{number}": row["text"] for number, row in enumerate(ROWS, 1)
    }
    assert {name: each.domain for name, each in read.items()} == {
        f"a{suffix}:{number}": row["meta"]["source"] for number, row in enumerate(ROWS, 1)
    }
    assert text_faults.text_faults(TextData(path=str(path))) == ()


def test_a_folder_is_read_in_the_order_of_names_with_sub_folders_as_domains(tmp_path):
    _write(tmp_path / "b/x.parquet", ROWS[:2])
    _write(tmp_path / "a/deep/y.jsonl", ROWS[2:4])
    (tmp_path / "c.txt").write_text("plain text")
    (tmp_path / "d.py").write_text("not read")
    domains = {name: each.domain for name, each in _read(tmp_path).items()}
    assert domains == {
        **{f"a/deep/y.jsonl:{n}": "a" for n in (1, 2)},
        **{f"b/x.parquet:{n}": "b" for n in (1, 2)},
        "c.txt": "",
    }


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_keys_that_are_absent_are_faults_with_those_there_are(tmp_path, suffix):
    path = _write(tmp_path / f"a{suffix}", ROWS)
    fault = _fault(path, text_key="content")
    assert fault.startswith("data.text_key=content: expected this key in every record, got one without it")
    assert "which has text, meta.source, n" in fault and f"a{suffix}:1" in fault
    assert "data.domain_key=meta.name: " in _fault(path, domain_key="meta.name")
    assert "data.messages_key=messages: " in _fault(path, messages_key="messages")


def test_what_is_no_text_is_a_fault(tmp_path):
    assert "expected text in every record, got 0 in a.jsonl:1" in _fault(
        _write(tmp_path / "a.jsonl", ROWS), text_key="n"
    )
    chats = _write(tmp_path / "b.jsonl", CHATS)
    assert "got a list in b.jsonl:1. Choose another key, or data.messages_key=messages" in _fault(
        chats, text_key="messages"
    )
    assert "expected a list of {role, content}" in _fault(tmp_path / "a.jsonl", messages_key="text")
    other = _write(tmp_path / "c.jsonl", [{"m": [{"from": "human", "value": "x"}]}])
    assert "got a message with from, value in c.jsonl:1" in _fault(other, messages_key="m")
    (tmp_path / "d.txt").write_text("plain " * 100)
    assert "expected records with conversations" in _fault(tmp_path / "d.txt", messages_key="m")


def test_damaged_files_are_named(tmp_path):
    for suffix in SUFFIXES:
        path = _write(tmp_path / f"a{suffix}", ROWS)
        path.write_bytes(path.read_bytes()[:-9])
        assert str(path) in _fault(path), suffix
    (tmp_path / "b.jsonl").write_text('["a list"]\n')
    assert "expected a JSON object in each line, got a list in line 1 of" in _fault(tmp_path / "b.jsonl")
    (tmp_path / "b.jsonl").write_text('{"text": "x"}\n{"text": \n')
    fault = _fault(tmp_path / "b.jsonl")
    assert fault.endswith(f"got none in line 2 of {tmp_path / 'b.jsonl'} (Expecting value).")
    (tmp_path / "c.jsonl").write_bytes(b'{"text": "\xff"}\n')
    assert "expected UTF-8 text" in _fault(tmp_path / "c.jsonl")


def test_empty_files_and_records_without_text_are_faults(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n")
    assert "expected text, got only empty files" in _fault(tmp_path / "a.jsonl")
    empty = _write(tmp_path / "b.jsonl", [{"text": None}, {"text": " "}])
    assert "expected text, got only empty files" in _fault(empty)
    short = _write(tmp_path / "c.jsonl", [{"text": "short"}] * 5)
    (fault,) = text_faults.text_faults(TextData(path=str(short)))
    assert "got at most 5 bytes in a record" in fault


def test_fewer_than_two_documents_of_a_whole_sequence_are_a_fault(tmp_path):
    long, short = {"text": "long enough " * 20}, {"text": "short"}
    path = _write(tmp_path / "a.jsonl", [long, short, short])
    (fault,) = text_faults.text_faults(TextData(path=str(path)))
    assert fault.endswith("; halves are of documents), got at most 1 of 3. Give more documents.")
    packed = TextData(path=str(path), packing=Packing.concatenated)
    assert text_faults.text_faults(packed) == ()
    (tmp_path / "b.txt").write_text("a line of text, and more of it\n" * 20)
    (fault,) = text_faults.text_faults(TextData(path=str(tmp_path / "b.txt")))
    assert fault.endswith("got at most 1 of 1. Give more documents, or choose data.document=line.")


def test_only_so_many_documents_are_read_the_first_ones(tmp_path):
    path = _write(tmp_path / "a.jsonl", [*ROWS[:3], *ROWS[:3], *ROWS[3:]])
    assert sorted(_read(path, max_documents=4)) == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3", "a.jsonl:7"]
    path.write_text(path.read_text() + "no JSON\n")
    assert len(_read(path, max_documents=6)) == 6, "what comes after is not read"


def test_a_document_can_begin_where_a_pattern_matches(tmp_path):
    lines = [" = One = \n", "", " first line \n", " = = Part = = \n", " = Two = \n", " last \n"]
    path = _write(tmp_path / "w.jsonl", [{"text": line} for line in lines])
    read = _read(path, document_starts="^ = [^=]+ = $")
    assert {name: each.text for name, each in read.items()} == {
        "w.jsonl:1": " = One = \n\n first line \n = = Part = = \n",
        "w.jsonl:5": " = Two = \n last \n",
    }
    (tmp_path / "w.txt").write_text("# A\nx\n# B\ny")
    assert [each.text for each in _read(tmp_path / "w.txt", document_starts="^#").values()] != []
    assert {each.text for each in _read(tmp_path / "w.txt", document_starts="^#").values()} == {
        "# A\nx\n",
        "# B\ny\n",
    }


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_conversations_keep_their_turns(tmp_path, suffix):
    path = _write(tmp_path / f"a{suffix}", CHATS)
    read = _read(path, messages_key="messages")
    assert len(read) == 3
    first = read[f"a{suffix}:1"]
    assert first.turns == (Turn("user", "question 0"), Turn("assistant", "yes"))
    assert first.text == "question 0\n\nyes"


def test_conversations_that_differ_in_roles_alone_are_two():
    a, b = (conversation("x", [Turn(role, "hello")]) for role in ("user", "assistant"))
    assert a.text == b.text and a.sha256 != b.sha256


def test_records_are_read_whatever_a_document_is_in_plain_text(tmp_path):
    path = _write(tmp_path / "a.jsonl", ROWS)
    assert _read(path, document=Documents.line) == _read(path)
