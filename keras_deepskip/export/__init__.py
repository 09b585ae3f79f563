"""A model as a file that runs without Keras, compared with the model before it counts.

The package is a function, too: `keras_deepskip.export(model, path)` calls `export.export`.
"""

import sys
import types

from keras_deepskip.export.exporting import ExportMismatch, ExportReport, export
from keras_deepskip.export.formats import FORMATS

__all__ = ["FORMATS", "ExportMismatch", "ExportReport", "export"]


class _CallablePackage(types.ModuleType):
    """A package that can be called like its function of the same name."""

    def __call__(self, *arguments, **settings):
        return export(*arguments, **settings)


sys.modules[__name__].__class__ = _CallablePackage
