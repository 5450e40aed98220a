"""Composes and checks every cell of a command line before Hydra starts, and reports all faults at once."""

from saeuniv.preflight.cells import Preflight as Preflight
from saeuniv.preflight.cells import preflight as preflight
from saeuniv.preflight.files import check as check
