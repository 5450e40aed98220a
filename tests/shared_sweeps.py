"""A sweep of one comparison made by hand, with dictionaries, latents, and a page that shows text."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from saeuniv.results import Row, load
from saeuniv.stages.drawn import draw
from saeuniv.stages.sweep import SummariseSweep
from saeuniv.store import Artifact, Kind, Store, artifact
from tests.stored_runs import StoredRun, byte_tokens, make_stored_run

WORDS = "the cat sat on the mat\n\t "
LAYERS, WIDTH, D_MODEL = (0, 1), 3, 4
CONFIG = "a:\n  seed: 0\nb:\n  seed: 1\nsae:\n  k: 2\n"


def dictionary(side: str, layer: int) -> Artifact:
    """As tests/stored_runs.py names it."""
    return artifact(Kind.dictionaries, {"hookpoint": f"resid_post[{layer}]", "model": side})


def write_sparsify(folder: Path, seed: int = 0) -> None:
    """A dictionary in sparsify's layout."""
    rng = np.random.default_rng(seed)
    cfg = {"activation": "topk", "expansion_factor": 32, "normalize_decoder": True, "num_latents": WIDTH}
    cfg |= {"k": 2, "multi_topk": False, "skip_connection": False, "transcode": False, "d_in": D_MODEL}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(cfg))
    arrays = {"encoder.weight": rng.normal(size=(WIDTH, D_MODEL)), "encoder.bias": np.zeros(WIDTH)}
    arrays |= {"W_dec": rng.normal(size=(WIDTH, D_MODEL)), "b_dec": np.zeros(D_MODEL)}
    named = {name: array.astype(np.float32) for name, array in arrays.items()}
    save_file(named, folder / "sae.safetensors")


def make_shared_sweep(
    place: Path, make_row: Callable[..., Row], *, config: str = CONFIG, drawn: bool = True
) -> StoredRun:
    """`multirun/s/one` below `place`, and its store beside it; figures and pages where `drawn`."""
    store = Store(place / "store")
    for number, (side, layer) in enumerate((side, layer) for side in "ab" for layer in LAYERS):
        with store.publish(dictionary(side, layer)) as folder:
            write_sparsify(folder, number)
    tokens = byte_tokens({f"doc {i}": WORDS * 9 for i in range(8)}, 31)
    rng = np.random.default_rng(0)
    shape = (tokens.n_rows, WIDTH)
    layers = {
        side: {
            layer: np.where(rng.random(shape) < 0.3, rng.random(shape), 0).astype(np.float32)
            for layer in LAYERS
        }
        for side in "ab"
    }
    run = make_stored_run(place, make_row, tokens, layers["a"], layers["b"], config=config)
    run.folder = run.folder.rename(_parent(place / "multirun" / "s" / "one"))
    _record_hashes(run)
    if drawn:
        draw(load(run.folder), run.folder / "results", run.store)
    sweep = run.folder.parent
    SummariseSweep(sweep, (), (), 1.0, sweep, (run.folder,), ())(lambda done, total: None)
    return run


def _record_hashes(run: StoredRun) -> None:
    """As summaries have them."""
    path = run.folder / "results" / "summary.json"
    summary = json.loads(path.read_text())
    for name in summary["artifacts"]:
        kind, key, *shard = name.split("/")
        made = Artifact(Kind(kind), key, {}, shard=int(shard[0]) if shard else None)
        summary["artifacts"][name] = run.store.digest(made)
    path.write_text(json.dumps(summary, indent=2) + "\n")


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    return path
