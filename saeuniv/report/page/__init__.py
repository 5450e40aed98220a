"""The pages people open from disk: `report.html` of one comparison and `sweep.html` of many."""

from saeuniv.report.page.comparison import ReportData as ReportData
from saeuniv.report.page.comparison import report_data as report_data
from saeuniv.report.page.contract import ContextDetail as ContextDetail
from saeuniv.report.page.contract import HistogramDetail as HistogramDetail
from saeuniv.report.page.contract import MatchDetail as MatchDetail
from saeuniv.report.page.contract import PairDetail as PairDetail
from saeuniv.report.page.pages import REPORT as REPORT
from saeuniv.report.page.pages import SWEEP as SWEEP
from saeuniv.report.page.pages import page as page
from saeuniv.report.page.pages import sweep_page as sweep_page
from saeuniv.report.page.sweep import Compared as Compared
