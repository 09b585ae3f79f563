"""Networks of other packages, trained and judged as the package's own."""

from keras_deepskip.studies.rivals.outside.hub import hub_deeplab
from keras_deepskip.studies.rivals.outside.smp import smp

__all__ = ["hub_deeplab", "smp"]
