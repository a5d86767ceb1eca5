"""The report of a study: sentences, tables and plots, made from its run folders alone, without torch."""

from selfpretrain.report.blocks import build_blocks
from selfpretrain.report.findings import Summary
from selfpretrain.report.summary import summarize
from selfpretrain.report.terminal import print_report
from selfpretrain.report.write import save_report, write_report

__all__ = ["Summary", "build_blocks", "print_report", "save_report", "summarize", "write_report"]
