"""Reports: curves, and a page that holds a run's pictures and figures."""

from keras_deepskip.reporting.curves import draw_curves, draw_threshold_curve
from keras_deepskip.reporting.page import Page

__all__ = ["Page", "draw_curves", "draw_threshold_curve"]
