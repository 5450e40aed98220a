"""The published tables (arXiv 2410.06981), and results beside them."""

from saeuniv.report.published.beside import Entry as Entry
from saeuniv.report.published.beside import Reproduction as Reproduction
from saeuniv.report.published.beside import first_line as first_line
from saeuniv.report.published.beside import reproductions as reproductions
from saeuniv.report.published.measures import MEASURES as MEASURES
from saeuniv.report.published.measures import Measure as Measure
from saeuniv.report.published.tables import Comparison as Comparison
from saeuniv.report.published.tables import Pairing as Pairing
from saeuniv.report.published.tables import Record as Record
from saeuniv.report.published.tables import SemanticRecord as SemanticRecord
from saeuniv.report.published.tables import Tables as Tables
from saeuniv.report.published.tables import published_tables as published_tables
from saeuniv.report.published.views import KEY as KEY
from saeuniv.report.published.views import Part as Part
from saeuniv.report.published.views import published_csv as published_csv
from saeuniv.report.published.views import published_markdown as published_markdown
from saeuniv.report.published.views import published_parts as published_parts
from saeuniv.report.published.views import published_table as published_table
