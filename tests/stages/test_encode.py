"""Latents as earlier code read them: the wrong activation on purpose, and pre-activations, shard by shard."""

import dataclasses
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from saeuniv.config import LatentKind, LocalSae, ModelBackend
from saeuniv.hookpoints import Hookpoint, HookpointKind
from saeuniv.stages.encode import Encode
from saeuniv.stages.latents import read_rows
from saeuniv.stages.stored_quality import read_quality, recorded_fvu
from saeuniv.stages.task import DictionaryReference, LatentsReference, ModelReference
from saeuniv.store import Artifact, Kind, Store, artifact

D, WIDTH, K, LAYERS = 16, 96, 4, 3
SEQUENCES, CONTEXT, SKIPPED = 24, 16, 4
OFF_BY_ONE = LocalSae(path="saes", max_fvu=0.5, hidden_state_off_by_one=True)
PRE_ACTS = LocalSae(path="saes", max_fvu=1e9, latent_kind=LatentKind.pre_acts)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-NeoX, and a TopK dictionary of random parameters for each of its layers."""
    import transformers as hf

    from saeuniv.adapters import model_folders, tiny

    root = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    sizes = {"hidden_size": D, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 32}
    config = hf.GPTNeoXConfig(
        vocab_size=257, bos_token_id=0, eos_token_id=0, max_position_embeddings=32, **sizes
    )
    model = hf.GPTNeoXForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)
    model_folders.save_model_folder(model, tiny.byte_tokenizer(32), root / "model")
    for layer in range(LAYERS):
        drawn = torch.Generator().manual_seed(layer)
        shapes = {"encoder.weight": (WIDTH, D), "encoder.bias": (WIDTH,), "W_dec": (WIDTH, D), "b_dec": (D,)}
        tensors = {name: 0.3 * torch.randn(*shape, generator=drawn) for name, shape in shapes.items()}
        folder = root / "saes" / f"layers.{layer}"
        folder.mkdir(parents=True)
        save_file(tensors, folder / "sae.safetensors")
        (folder / "cfg.json").write_text(json.dumps({"num_latents": WIDTH, "k": K, "d_in": D}))
    return root


@pytest.fixture
def tokens(tmp_path: Path) -> Artifact:
    """Random sequences of two documents in a store."""
    rng = np.random.default_rng(0)
    ids = torch.from_numpy(rng.integers(1, 257, (SEQUENCES, CONTEXT)).astype(np.int32))
    keep = torch.arange(CONTEXT).expand(SEQUENCES, -1).ge(SKIPPED).contiguous()
    documents = torch.arange(SEQUENCES, dtype=torch.int32) // (SEQUENCES // 2)
    made = artifact(Kind.tokens, {"split": "held_out"})
    with Store(tmp_path / "store").publish(made) as folder:
        save_file({"ids": ids, "keep": keep, "documents": documents}, folder / "tokens.safetensors")
    return made


@pytest.fixture
def encoded(
    files: Path, tokens: Artifact, tmp_path: Path
) -> Callable[[LocalSae], tuple[Store, tuple[LatentsReference, ...]]]:
    """A function that encodes all layers by dictionaries that are read so."""

    def encode(sae: LocalSae) -> tuple[Store, tuple[LatentsReference, ...]]:
        model = ModelReference(
            "tiny", "gpt_neox", LAYERS, "0" * 16, None, str(files / "model"), None, backend=ModelBackend.hf
        )
        latents = tuple(
            LatentsReference(
                artifact(Kind.latents, {"layer": layer, "sae": repr(sae)}),
                tokens,
                DictionaryReference(
                    Hookpoint(HookpointKind.resid_post, layer),
                    sae,
                    WIDTH,
                    str(layer) * 16,
                    None,
                    str(files / "saes" / f"layers.{layer}"),
                ),
                model,
            )
            for layer in range(LAYERS)
        )
        task = Encode(
            tmp_path / "store",
            inputs=(),
            outputs=tuple(each.artifact for each in latents),
            seconds=1.0,
            model=model,
            tokens=tokens,
            latents=latents,
            batch_sequences=5,
        )
        assert not task.is_done()
        task(lambda _done, _all: None)
        assert task.is_done()
        return task.store, latents

    return encode


def hidden_states(files: Path, store: Store, tokens: Artifact) -> list[torch.Tensor]:
    """Hugging Face's, on the kept positions: embeddings first, the last one after the final norm."""
    import transformers as hf

    from saeuniv.stages.tokens import read_held_out

    held_out = read_held_out(store, tokens)
    model = hf.AutoModelForCausalLM.from_pretrained(files / "model", attn_implementation="eager").eval()
    with torch.inference_mode():
        out = model(torch.from_numpy(held_out.ids.astype(np.int64)), output_hidden_states=True)
    return [each[torch.from_numpy(held_out.keep)] for each in out.hidden_states]


def by_hand(files: Path, layer: int, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """relu(encoder (x - b_dec) + b_enc), and the k largest of it."""
    from safetensors.torch import load_file

    given = load_file(files / "saes" / f"layers.{layer}" / "sae.safetensors")
    pre_acts = torch.relu((x - given["b_dec"]) @ given["encoder.weight"].T + given["encoder.bias"])
    least = pre_acts.topk(K).values[:, -1:]
    return pre_acts.numpy(), torch.where(pre_acts >= least, pre_acts, 0).numpy()


def fvu_by_hand(files: Path, layer: int, x: torch.Tensor) -> float:
    from safetensors.torch import load_file

    given = load_file(files / "saes" / f"layers.{layer}" / "sae.safetensors")
    made = torch.from_numpy(by_hand(files, layer, x)[1]) @ given["W_dec"] + given["b_dec"]
    return float((x - made).double().square().sum() / (x - x.mean(0)).double().square().sum())


def every_row(store: Store, reference: LatentsReference) -> Any:
    n_rows = SEQUENCES * (CONTEXT - SKIPPED)
    return read_rows(store, reference, 1, np.arange(n_rows)).toarray()


def test_dictionaries_of_outputs_are_given_inputs_as_the_index_of_hidden_states_does(
    encoded: Any, files: Path, tokens: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        store, latents = encoded(OFF_BY_ONE)
    states = hidden_states(files, store, tokens)
    for layer, reference in enumerate(latents):
        _, expected = by_hand(files, layer, states[layer])
        np.testing.assert_allclose(every_row(store, reference), expected, atol=1e-5)
        # As far off as it is, beyond max_fvu, and stored.
        fvu = recorded_fvu(store, reference, 1)
        assert fvu > OFF_BY_ONE.max_fvu
        assert fvu == pytest.approx(fvu_by_hand(files, layer, states[layer]), rel=1e-4)
    places = ", ".join(f"resid_post[{layer}]<-resid_pre[{layer}]" for layer in range(LAYERS))
    assert caplog.messages[-1].endswith(f"in 1 shards; off by one on purpose: {places}")


def test_without_it_they_are_given_what_they_were_trained_on_and_refused_where_they_do_not_fit(
    encoded: Any, files: Path, tokens: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match=r"tiny at resid_post\[0\]: FVU .* on its own input"):
        encoded(dataclasses.replace(OFF_BY_ONE, hidden_state_off_by_one=False))
    with caplog.at_level(logging.INFO):
        store, latents = encoded(dataclasses.replace(PRE_ACTS, latent_kind=LatentKind.latents))
    states = hidden_states(files, store, tokens)
    for layer in range(LAYERS - 1):
        _, expected = by_hand(files, layer, states[layer + 1])
        np.testing.assert_allclose(every_row(store, latents[layer]), expected, atol=1e-5)
    assert "on purpose" not in caplog.text


def test_pre_activations_are_stored_of_all_latents_with_the_fit_of_those_chosen(
    encoded: Any, files: Path, tokens: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saeuniv.adapters import quality as encoding

    asked: list[int] = []
    encode_rows = encoding.encode_rows

    def counted(model: Any, dictionaries: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(len(dictionaries))
        return encode_rows(model, dictionaries, *args, **kwargs)

    monkeypatch.setattr(encoding, "encode_rows", counted)
    store, latents = encoded(PRE_ACTS)
    _, own = encoded(dataclasses.replace(PRE_ACTS, latent_kind=LatentKind.latents))
    assert asked == [1] * LAYERS + [LAYERS], "one layer of pre-activations at a time is in memory"
    states = hidden_states(files, store, tokens)
    for layer in range(LAYERS - 1):
        expected, _ = by_hand(files, layer, states[layer + 1])
        np.testing.assert_allclose(every_row(store, latents[layer]), expected, rtol=1e-5, atol=1e-5)
    for pre, chosen in zip(latents, own, strict=True):
        quality, usual = read_quality(store, pre, 1), read_quality(store, chosen, 1)
        assert quality.l0 > WIDTH / 4 and usual.l0 <= K
        assert (quality.error, quality.variance) == pytest.approx((usual.error, usual.variance), rel=1e-6)
        assert quality.loss_recovered == pytest.approx(usual.loss_recovered, rel=1e-3)


def test_where_more_latents_are_active_than_two_bytes_count_four_do(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    from saeuniv.adapters.encoding import EncodedRows
    from saeuniv.stages.latents import ShardQuality, save_shard, shard_counts

    width = 70_000
    dense = EncodedRows(
        np.array([width], np.int32), np.arange(width, dtype=np.int32), np.ones(width, np.float32)
    )
    few = EncodedRows(np.array([1], np.int32), np.array([5], np.int32), np.ones(1, np.float32))
    for name, parts, dtype in (("dense", [few, dense], np.uint32), ("few", [few, few], np.uint16)):
        folder = tmp_path / name
        folder.mkdir()
        fit = _Fit(2, 0.0, 0.0, np.zeros(3))
        save_shard(folder, parts, ShardQuality(fit, fit, np.zeros(2, bool), None), width)
        assert load_file(folder / "latents.safetensors")["counts"].dtype == dtype
        assert shard_counts([folder]).tolist() == [int(part.counts[0]) for part in parts]


@dataclasses.dataclass
class _Fit:
    rows: int
    error: float
    squares: float
    total: np.ndarray
