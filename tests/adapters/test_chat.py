"""Conversations as text: by a template of a tokenizer, with the place of what each role says."""

import json

import pytest

from saeuniv.adapters import chat
from saeuniv.adapters.documents import Turn, conversation, document
from saeuniv.adapters.folders import ModelFacts
from saeuniv.config import ChatTemplate, ConfigError, TextData
from tests.adapters.chat_tokenizers import BOS, CHATML, write_tokenizer

TURNS = (Turn("user", "user"), Turn("assistant", "  turn or user? \n"), Turn("user", "assistant"))


def _facts(folder: str, **identity: str) -> ModelFacts:
    return ModelFacts(1, 1, 1, "gpt_neox", "0", identity or {"sha256": "0"}, folder)


def _template(folder, side: str = "a") -> chat.Template:
    data = TextData(messages_key="m", chat_template=ChatTemplate[side])
    other = _facts("")
    facts = _facts(str(folder))
    found = chat.chosen_template(data, *((facts, other) if side == "a" else (other, facts)))
    assert found is not None
    return found


def _said(text: chat.Rendered) -> list[tuple[str, str]]:
    return [(span.role, text.text[span.start : span.end]) for span in text.spans]


def test_contents_without_a_template_are_joined_by_blank_lines():
    text = chat.as_written(conversation("x", TURNS))
    assert text.text == "user\n\n  turn or user? \n\n\nassistant" and not text.began_with_bos
    assert _said(text) == list(TURNS)
    assert chat.as_written(document("x", "plain")) == chat.Rendered("plain", (), False)


def test_a_template_writes_the_conversation_and_its_bos_is_taken_off(tmp_path):
    render = chat.renderer(_template(write_tokenizer(tmp_path, template=CHATML)))
    text = render(conversation("x", TURNS))
    assert text.text == (
        "<turn>user\nuser<turn>\n<turn>assistant\nturn or user?<turn>\n<turn>user\nassistant<turn>\n"
    )
    assert text.began_with_bos and BOS not in text.text
    # Though the roles' names are said as well: what a header says is nobody's.
    assert _said(text) == [("user", "user"), ("assistant", "turn or user?"), ("user", "assistant")]
    assert [span.start for span in text.spans] == [11, 38, 69]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for m in messages %}[{{ m.content }}]{% endfor %}", ["user", "  turn or user? \n", "assistant"]),
        ("{% for m in messages[1:] %}[{{ m.content }}]{% endfor %}", ["  turn or user? \n", "assistant"]),
        # It looks into contents: searched for from left to right.
        ("{% for m in messages %}[{{ m.content | upper | lower | trim }}]{% endfor %}", None),
        ("{% for m in messages %}[{{ m.content.split('?')[0] }}]{% endfor %}", None),
    ],
)
def test_contents_are_found_in_templates_of_any_form(tmp_path, template, expected):
    text = chat.renderer(_template(write_tokenizer(tmp_path, template=template)))(conversation("x", TURNS))
    if expected is None:
        assert ("user", "user") in _said(text) and ("user", "assistant") in _said(text)
    else:
        assert [content for _, content in _said(text)] == expected


def test_a_date_in_a_template_is_the_same_every_day(tmp_path):
    template = "{{ date_string or strftime_now('%d %b %Y') }}{{ messages[0].content }}"
    text = chat.renderer(_template(write_tokenizer(tmp_path, template=template)))(conversation("x", TURNS))
    assert text.text == "26 Jul 2024user"


def test_a_template_cannot_reach_out_of_its_sandbox(tmp_path):
    template = "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    render = chat.renderer(_template(write_tokenizer(tmp_path, template=template)))
    with pytest.raises(chat.RefusedConversation, match="unsafe"):
        render(conversation("x", TURNS))


def test_conversations_that_a_template_refuses_are_left_out_and_counted(tmp_path, caplog):
    render = chat.renderer(_template(write_tokenizer(tmp_path, template=CHATML)))
    good, bad = conversation("good", TURNS), conversation("bad", [Turn("tool", "x")])
    with caplog.at_level("WARNING", logger="saeuniv"):
        assert [each.name for each, _ in chat.all_rendered([bad, good, bad], render)] == ["good"]
    assert "2 of 3 conversations left out, refused by the chat template: bad: no tools" in caplog.text
    with pytest.raises(ValueError, match="it refuses all 1: bad: no tools"):
        chat.all_rendered([bad], render)


def test_templates_are_found_where_tokenizers_keep_them(tmp_path):
    several = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    folder = write_tokenizer(tmp_path / "several", chat_template=several)
    assert _template(folder, "b").text == "d"
    (folder / "chat_template.jinja").write_text("own file")
    assert _template(folder).text == "own file"


def test_the_key_of_a_template_is_of_what_it_writes(tmp_path):
    one = _template(write_tokenizer(tmp_path / "one", template=CHATML))
    copy = _template(write_tokenizer(tmp_path / "copy", template=CHATML, model_max_length=8))
    other = _template(write_tokenizer(tmp_path / "other", template=CHATML + " "))
    marked = _template(write_tokenizer(tmp_path / "marked", template=CHATML, bos_token="<turn>"))
    assert one.sha256 == copy.sha256 and len({one.sha256, other.sha256, marked.sha256}) == 3


def test_a_tokenizer_without_a_template_is_refused(tmp_path):
    folder = write_tokenizer(tmp_path)
    with pytest.raises(
        ConfigError, match=r"data\.chat_template=a: expected a tokenizer with a chat template"
    ):
        _template(folder)
    with pytest.raises(ConfigError, match=r"none in the embedded model.*data\.chat_template=a, or"):
        chat.chosen_template(
            TextData(messages_key="m", chat_template=ChatTemplate.b), _facts(str(folder)), _facts("")
        )
    assert chat.chosen_template(TextData(messages_key="m"), _facts(""), _facts("")) is None


def test_a_template_of_the_hub_is_of_its_commit(tmp_path, monkeypatch):
    from tests.fake_hub import serving

    with serving(tmp_path, monkeypatch) as hub:
        config = json.dumps({"chat_template": "old"}).encode()
        commit = hub.add("owner/chat", {"tokenizer_config.json": config})
        newer = hub.add("owner/chat", {"tokenizer_config.json": config, "chat_template.jinja": b"new"})
        data = TextData(messages_key="m", chat_template=ChatTemplate.b)
        texts = [
            chat.chosen_template(data, _facts(""), _facts("owner/chat", repository="owner/chat", commit=each))
            for each in (commit, newer)
        ]
        assert [each and each.text for each in texts] == ["old", "new"]
