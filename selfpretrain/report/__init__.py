"""The report of a study: sentences, tables and plots, made from its run folders alone, without torch."""

from selfpretrain.report.findings import Summary
from selfpretrain.report.summary import summarize
from selfpretrain.report.write import print_report, save_report, write_report

__all__ = ["Summary", "print_report", "save_report", "summarize", "write_report"]
