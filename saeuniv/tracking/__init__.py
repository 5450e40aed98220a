"""Weights & Biases: one run per comparison, made from its results folder; the only imports of wandb."""

from saeuniv.tracking.mode import no_key as no_key
from saeuniv.tracking.offline import OfflineRun as OfflineRun
from saeuniv.tracking.offline import dashboard as dashboard
from saeuniv.tracking.offline import inspect as inspect
from saeuniv.tracking.offline import last_line as last_line
from saeuniv.tracking.offline import run_folders as run_folders
from saeuniv.tracking.offline import write_outcome as write_outcome
from saeuniv.tracking.upload import upload as upload
from saeuniv.tracking.wandb_run import TrackingOutcome as TrackingOutcome
from saeuniv.tracking.wandb_run import run_id as run_id
from saeuniv.tracking.wandb_run import track as track
