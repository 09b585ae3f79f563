"""Experiments: the paper's ablation and comparison, on its categories or on folders of your own."""

from keras_deepskip.studies.experiments.ablation_study import ABLATION
from keras_deepskip.studies.experiments.categories import CATEGORIES
from keras_deepskip.studies.experiments.comparison_study import COMPARISON
from keras_deepskip.studies.experiments.study import ablation, compare, run_study
from keras_deepskip.studies.experiments.study_config import Category, Network, Preset, Study

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
