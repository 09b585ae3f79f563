"""Published sets of small objects: readers for their layouts, and one function that imports."""

from keras_deepskip.data.importers.importing import ImportedSet, import_set
from keras_deepskip.data.importers.layouts import LAYOUTS, Layout

__all__ = ["LAYOUTS", "ImportedSet", "Layout", "import_set"]
