"""A model as a file that runs without Keras, compared with the model before it counts."""

from keras_deepskip.export.exporting import ExportMismatch, ExportReport, export
from keras_deepskip.export.formats import FORMATS

__all__ = ["FORMATS", "ExportMismatch", "ExportReport", "export"]
