"""What a reader sees of results: tables, pictures of learning curves, and a page of everything."""

from qpsbgd.report.axis import axis_table, draw_against_axis
from qpsbgd.report.page import page
from qpsbgd.report.summary import draw_curves, table

__all__ = ["axis_table", "draw_against_axis", "draw_curves", "page", "table"]


def __dir__() -> list[str]:
    return __all__
