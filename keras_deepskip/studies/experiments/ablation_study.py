"""Table 1: what each part of the network, and of its loss, contributes.

    keras-deepskip ablation --preset light --data FOLDER_OF_SETS --out runs/ablation --jobs 2

Takes on 2 CPU cores: `quick` 40 minutes, `light` by count 2.6 hours; `full` by estimate 18 minutes
on an H200, not run yet.

Results of 2026-12-01 (docs/measurements/comparison.md): deep skips +.006 in IoU over flat ones,
level in objects; BCE + Dice level with its parts where objects are many, +.24 in object F1 over BCE
where they are rare.
"""

from keras_deepskip.studies.experiments.budgets import FULL, LIGHT, QUICK, SLOW
from keras_deepskip.studies.experiments.categories import CATEGORIES
from keras_deepskip.studies.experiments.study_config import Network, Preset, Study

# The loss is L = beta L_BCE + dice_weight L_Dice; alpha = 0.5 weighs object and background equally.
BCE = {"alpha": 0.5, "beta": 2.0, "dice_weight": 0.0}
WEIGHTED_BCE = {"alpha": 0.8, "beta": 2.0, "dice_weight": 0.0}
DICE = {"beta": 0.0}

# A flat network with as many weights as the deep one, by a wider decoder: 643,185 to 644,192.
WIDE = {"skips": "flat", "decoder_filters": (9, 18, 36, 71)}

NETWORKS = (
    # The four of the paper's table 1. Batch norm as in the light ones: the study is about the skips
    # and the width, not the norm.
    Network(
        "unet_bce",
        "(a) U-Net 64..1024, BCE",
        {"architecture": "unet", "batch_norm": True},
        {**BCE, **SLOW},
    ),
    Network("deep_bce", "(b) light, deep skips, BCE", {}, BCE),
    Network("flat_both", "(c) light, flat skips, BCE + Dice", {"skips": "flat"}),
    Network("deep_both", "(d) light, deep skips, BCE + Dice"),
    # Is it the skips, or that deep skips have more weights?
    Network("wide_both", "flat skips at the weights of (d), BCE + Dice", WIDE),
    # The parts of the loss; (b) and (d) belong to this series.
    Network("deep_weighted", "light, deep skips, weighted BCE", {}, WEIGHTED_BCE),
    Network("deep_dice", "light, deep skips, Dice", {}, DICE),
    # Does half precision, which GPUs are faster at, cost anything?
    Network("deep_bfloat16", "(d) in bfloat16", {}, {"precision": "mixed_bfloat16"}),
)

NAMES = tuple(network.name for network in NETWORKS)
LIGHT_VARIANTS = NAMES[1:]  # all but the full-width U-Net
VARIANTS = NAMES[:-1]  # in one precision
PRESETS = {
    "quick": Preset(
        "all variants and categories, few steps, within an hour on 2 CPU cores",
        **QUICK,
        networks=VARIANTS,
        seeds=(0, 1),
        steps_of={"unet_bce": 15},  # a step of the full-width network takes 40 times as long
    ),
    "light": Preset(
        "the light variants, each trained for the same minutes as `train` would, where objects are "
        "many and where they are rare",
        **LIGHT,
        networks=LIGHT_VARIANTS,
    ),
    "full": Preset(
        "all variants on full-size crops, for a GPU and --jobs 4",
        **FULL,
        networks=VARIANTS,
        seeds=(0, 1, 2),
    ),
}

ABLATION = Study(
    "ablation",
    "Table 1: what deep skips and the loss's parts contribute",
    NETWORKS,
    "deep_both",
    CATEGORIES,
    PRESETS,
)
