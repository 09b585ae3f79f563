"""The paper's six kinds of small objects, and the images of each.

Real sets of at least 30 images represent their category; where there are fewer, synthetic images
do, and the tables say so (in results of before 2026-11-30 for pedestrians too). A category of your
own is one line:

    Category("my cells", "/home/me/cells")
"""

from keras_deepskip.studies.experiments.study_config import Category

# Scenes of 256 x 256 with 3 to 12 objects of 6 to 28 pixels.
SCENES = {"images": 48, "seed": 7}

CATEGORIES = (
    Category("microorganisms", "nuclei_fluorescence"),  # 78 images
    Category("coins", "euro_coins"),  # 30 images
    Category("pathological areas", "nuclei_histology"),  # 50 images
    Category("underwater", synthetic={"kind": "fish", **SCENES}),  # 8 real images are too few
    Category("pedestrians", "street_people"),  # 170 images
    Category("vehicles", synthetic={"kind": "vehicles", **SCENES}),  # 20 images of 5 classes
)
REAL = ("microorganisms", "coins", "pathological areas", "pedestrians")
RARE = "vehicles"  # whose objects cover little of their images
ALL = tuple(category.name for category in CATEGORIES)
