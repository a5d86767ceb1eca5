"""The report as one page: a file that holds all it needs, and loads nothing."""

from selfpretrain.report.page.form import cut_differing, format_page

__all__ = ["cut_differing", "format_page"]
