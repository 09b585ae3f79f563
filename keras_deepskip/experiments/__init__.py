"""Experiments: the paper's ablation and comparison, on its categories or on folders of your own."""

from keras_deepskip.experiments.ablation import ABLATION
from keras_deepskip.experiments.categories import CATEGORIES
from keras_deepskip.experiments.comparison import COMPARISON
from keras_deepskip.experiments.plan import Category, Network, Preset, Study
from keras_deepskip.experiments.study import ablation, compare, run_study

__all__ = [
    "ABLATION",
    "CATEGORIES",
    "COMPARISON",
    "Category",
    "Network",
    "Preset",
    "Study",
    "ablation",
    "compare",
    "run_study",
]
