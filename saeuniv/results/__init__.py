"""Typed rows and matrices of one comparison: the one place that writes and reads results folders."""

from saeuniv.results.folder import FORMAT_VERSION as FORMAT_VERSION
from saeuniv.results.folder import find_results as find_results
from saeuniv.results.folder import is_written as is_written
from saeuniv.results.folder import load as load
from saeuniv.results.folder import read_status as read_status
from saeuniv.results.folder import write_results as write_results
from saeuniv.results.folder import write_status as write_status
from saeuniv.results.matches import MATCH_COLUMNS as MATCH_COLUMNS
from saeuniv.results.matches import MATCHES as MATCHES
from saeuniv.results.matches import match_columns as match_columns
from saeuniv.results.matches import matched_pairs as matched_pairs
from saeuniv.results.matches import read_matches as read_matches
from saeuniv.results.matches import writes_matches as writes_matches
from saeuniv.results.matrices import Results as Results
from saeuniv.results.rows import CONTROL_NOT_COMPUTED as CONTROL_NOT_COMPUTED
from saeuniv.results.rows import DIRECTIONS as DIRECTIONS
from saeuniv.results.rows import NOT_COMPUTED as NOT_COMPUTED
from saeuniv.results.rows import REASONS as REASONS
from saeuniv.results.rows import SPACES as SPACES
from saeuniv.results.rows import NullRow as NullRow
from saeuniv.results.rows import Row as Row
from saeuniv.results.rows import hookpoint_kind as hookpoint_kind
from saeuniv.results.table import columns as columns
