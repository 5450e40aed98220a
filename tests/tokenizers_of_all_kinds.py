"""Small tokenizers of the kinds that models have, trained here: they cut the same text differently."""

from functools import cache
from pydoc_data.topics import topics

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from saeuniv.adapters.tiny import byte_tokenizer

_TEXT = tuple(topics[name][:4000] for name in sorted(topics)[:12])
END = "<|endoftext|>"


def byte_bpe(vocabulary: int, *, texts=_TEXT, words: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level byte-pair encoding, as GPT-2 and GPT-NeoX have it; without `words` merges cross spaces."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END, bos_token=END)


def metaspace() -> PreTrainedTokenizerFast:
    """Spaces as part of words and bytes where a character is unknown, behind a BOS, as Llama 2 has it."""
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    specials = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made.train_from_iterator(
        _TEXT, trainers.BpeTrainer(vocab_size=900, special_tokens=specials, show_progress=False)
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def word_piece() -> PreTrainedTokenizerFast:
    """Lower-cased pieces of words between two special tokens, as BERT has it."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(
        _TEXT,
        trainers.WordPieceTrainer(
            vocab_size=900, special_tokens=["[UNK]", "[CLS]", "[SEP]", "[PAD]"], show_progress=False
        ),
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]")


@cache
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    """One of each kind, by name."""
    return {
        "bytes": byte_tokenizer(64),
        "bpe400": byte_bpe(400),
        "bpe1200": byte_bpe(1200),
        "metaspace": metaspace(),
        "wordpiece": word_piece(),
        "crossing": byte_bpe(500, words=False),
    }
