"""What a sweep made, written out for others to read, and taken in from others."""

from saeuniv.sweep.sharing.contract import EXPORT as EXPORT
from saeuniv.sweep.sharing.contract import KINDS as KINDS
from saeuniv.sweep.sharing.contract import Contract as Contract
from saeuniv.sweep.sharing.contract import read_contract as read_contract
from saeuniv.sweep.sharing.importing import Import as Import
from saeuniv.sweep.sharing.importing import plan_import as plan_import
from saeuniv.sweep.sharing.plan import Export as Export
from saeuniv.sweep.sharing.plan import Wanted as Wanted
from saeuniv.sweep.sharing.plan import plan_export as plan_export
from saeuniv.sweep.sharing.writing import write_export as write_export
