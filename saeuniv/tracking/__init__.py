"""Weights & Biases: one run per comparison, made from its results folder; the only imports of wandb."""

from saeuniv.tracking.wandb_run import TrackingOutcome as TrackingOutcome
from saeuniv.tracking.wandb_run import run_id as run_id
from saeuniv.tracking.wandb_run import track as track
