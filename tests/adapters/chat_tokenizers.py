"""Byte tokenizers that begin texts with BOS, and that have chat templates, as folders."""

import json
from pathlib import Path
from typing import Any

from saeuniv.adapters.checkpoints import byte_tokenizer_json

BOS, END, TURN = "<bos>", "<|endoftext|>", "<turn>"
CHATML = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "<turn>{{ m.role }}\n{{ m.content | trim }}<turn>\n{% endfor %}"
)


def tokenizer_json(*, begins: bool) -> dict[str, Any]:
    """The byte tokenizer with two more special tokens; `begins`: it puts BOS before a text by itself."""
    content = byte_tokenizer_json()
    special = content["added_tokens"][0]
    vocab = content["model"]["vocab"]
    for token in (BOS, TURN):
        vocab[token] = len(vocab)
        content["added_tokens"].append({**special, "id": vocab[token], "content": token})
    if begins:
        content["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": BOS, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {BOS: {"id": BOS, "ids": [vocab[BOS]], "tokens": [BOS]}},
        }
    return content


def write_tokenizer(
    folder: Path, *, begins: bool = False, template: str | None = None, **config: object
) -> Path:
    """A folder with tokenizer.json and tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(begins=begins)))
    written = {
        "bos_token": BOS,
        "eos_token": END,
        **({"chat_template": template} if template else {}),
        **config,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(written))
    return folder
