"""The page people look at after a run: one self-contained HTML file."""

from pipeline.report.page import write_report

__all__ = ["write_report"]
