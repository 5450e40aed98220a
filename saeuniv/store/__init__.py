"""The only truth about what is done: content-addressed artifacts, published whole or not at all."""

from saeuniv.store.artifacts import FORMAT as FORMAT
from saeuniv.store.artifacts import Artifact as Artifact
from saeuniv.store.artifacts import ArtifactError as ArtifactError
from saeuniv.store.artifacts import Kind as Kind
from saeuniv.store.artifacts import artifact as artifact
from saeuniv.store.artifacts import artifact_key as artifact_key
from saeuniv.store.artifacts import artifact_named as artifact_named
from saeuniv.store.faults import FAULT_POINTS as FAULT_POINTS
from saeuniv.store.folders import Store as Store
from saeuniv.store.writable import check_writable as check_writable
