"""Two sweeps uploaded at once to a server that refuses for a while: complete, bounded, no secrets."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from saeuniv.results import write_results
from saeuniv.tracking import run_id
from tests.tracking.fake_server import COMMAND, SECRETS, FakeWandb, start

_ARGUMENT = "some.password=OnTheCommandLine"

# Measured with two metrics on a 2 x 3 grid: 37 requests and 83 kB, two of the requests for refusals. A
# metric adds two uploads: its heatmap, and the same in the artifact.
_MOST_REQUESTS, _MOST_BYTES = 45, 100_000

_TRACK = """
import sys
from pathlib import Path
from saeuniv.config import Tracking, TrackingMode
from saeuniv.tracking import track
for folder in map(Path, sys.argv[3:]):
    settings = Tracking(mode=TrackingMode(sys.argv[2]))
    outcome = track(folder / "results", settings=settings, sweep=folder.parent.name,
                    comparison=folder.name, job_type="comparison")
    print(outcome.mode, outcome.message)
"""


@pytest.fixture
def sweeps(tmp_path, results, draw) -> dict[str, list[Path]]:
    """Results of two sweeps with two comparisons each; some comparisons have the same name."""
    out = {}
    for sweep in ("first", "second"):
        out[sweep] = [tmp_path / "multirun" / sweep / f"a-b-hungarian-{n}" for n in range(2)]
        for folder in out[sweep]:
            rows = [dataclasses.replace(row, comparison=folder.name) for row in results.rows]
            write_results(
                folder,
                rows=rows,
                null_rows=results.null_rows,
                layers_a=results.layers_a,
                layers_b=results.layers_b,
                summary={"comparison": folder.name, "sweep": sweep, "job_type": "comparison"},
                config=results.config,
                status={"state": "done"},
                figures=draw,
            )
    return out


def test_two_overlapping_sweeps_arrive_complete_through_refusals(sweeps, results):
    first, second = sweeps["first"], sweeps["second"]
    with FakeWandb(failing=("UpsertBucket", "file_stream", "upload", "CreateArtifact")) as fake:
        # One online from tracking, one from disk by the command; both at once.
        online = start(_TRACK, _ARGUMENT, "auto", *first, url=fake.url)
        synced = start(COMMAND, "sync", second[0].parent, "--rebuild", url=fake.url)
        said_online, said_synced = online.communicate(timeout=120)[0], synced.communicate(timeout=120)[0]
        assert (online.returncode, synced.returncode) == (0, 0), said_online + said_synced
    assert [line.split()[0] for line in said_online.splitlines()] == ["online"] * 2, said_online
    assert said_synced.splitlines()[-1] == f"W&B: {fake.url}/me/saeuniv"
    assert set(fake.refused) == {429, 500}
    wanted = {run_id("saeuniv", f.parent.name, f.name): f for f in (*first, *second)}
    assert set(fake.runs) == set(fake.history) == set(wanted)
    for name, folder in wanted.items():
        _is_complete(fake, name, folder, results)
    assert sum(fake.requests.values()) <= 4 * _MOST_REQUESTS, fake.requests
    assert fake.n_bytes <= 4 * _MOST_BYTES
    received = b"\n".join(fake.sent)
    assert not [secret for secret in (*SECRETS, "OnTheCommandLine") if secret.encode() in received]
    assert b"NaN" not in b"".join(chunk for run in fake.history.values() for chunk in [repr(run).encode()])


def _is_complete(fake: FakeWandb, name: str, folder: Path, results) -> None:
    run, rows = fake.runs[name], fake.history[name]
    assert (run["groupName"], run["displayName"]) == (folder.parent.name, folder.name)
    assert [row["pair_idx"] for row in rows[:-1]] == list(range(6))
    assert rows[-1]["score/cka"] == pytest.approx(np.nanmean(results.matrix("cka")))
    table = json.loads(fake.files[f"{name}/{rows[-1]['layer_pairs']['path']}"])
    assert {row[0] for row in table["data"]} == {folder.name}
    for metric in results.metrics:
        path = rows[-1][f"heatmap/{metric}"]["path"]
        picture = (folder / "results" / f"heatmap_{metric}.png").read_bytes()
        assert fake.files[f"{name}/{path}"] == picture
    artifact = next(
        each for each, made in fake.artifacts.items() if made["artifactCollectionName"] == f"results-{name}"
    )
    assert artifact in fake.committed
    for path in (folder / "results").iterdir():
        assert fake.files[f"{artifact}/{path.name}"] == path.read_bytes()
