"""The paper's six kinds of small objects, and what stands for each.

Real sets of at least 30 images stand for their category; where there are fewer, scenes are drawn in
their place, and the tables say so. A category of your own is one line:

    Category("my cells", "/home/me/cells")
"""

from keras_deepskip.studies.experiments.plan import Category

# Scenes of 256 x 256 with 3 to 12 objects of 6 to 28 pixels.
SCENES = {"images": 48, "seed": 7}

CATEGORIES = (
    Category("microorganisms", "nuclei_fluorescence"),  # 78 images
    Category("coins", "euro_coins"),  # 30 images
    Category("pathological areas", "nuclei_histology"),  # 50 images
    Category("underwater", drawn={"kind": "fish", **SCENES}),  # 8 real images are too few
    Category("pedestrians", drawn={"kind": "pedestrians", **SCENES}),  # 28, with coarse outlines
    Category("vehicles", drawn={"kind": "vehicles", **SCENES}),  # 20 images of 5 classes
)
REAL = ("microorganisms", "coins", "pathological areas")
ALL = tuple(category.name for category in CATEGORIES)
