"""Reports: a page of what a model finds, how sure that is, and how it was made."""

from keras_deepskip.reporting.run_report import NEEDED, Report, report

__all__ = ["NEEDED", "Report", "report"]
