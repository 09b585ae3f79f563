"""Reports: a page of what a model finds, how sure that is, and how it was made."""

from keras_deepskip.reporting.folds_report import folds_report
from keras_deepskip.reporting.run_report import NEEDED, Report, report

__all__ = ["NEEDED", "Report", "folds_report", "report"]
