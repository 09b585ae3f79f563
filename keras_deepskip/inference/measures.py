"""Measures of objects and counts of images, for the tables that `predict` writes."""

import math

import numpy as np

from keras_deepskip._checks import require

SHAPE = ("equivalent_diameter_area", "perimeter", "eccentricity", "solidity")
MICROMETRES = ("area_um2", "equivalent_diameter_um", "perimeter_um")
IMAGE_COLUMNS = ("image", "class", "objects", "covered_share", "mean_area")


def columns(channels, sized):
    """The names of the measures of objects.

    Args:
        channels: of the images.
        sized: whether an image says how large its pixels are.
    """
    intensities = [f"intensity_mean_{channel}" for channel in range(channels)]
    shape = [name.removesuffix("_area") for name in SHAPE]
    return [*shape, *(MICROMETRES if sized else ()), *intensities]


def measure(labels, image, pixel_size=None):
    """Measures each object of an image, as scikit-image does.

    Args:
        labels: which object each pixel is of, (H, W), 1..n.
        image: (H, W, C).
        pixel_size: height and width of a pixel in micrometres, or None.

    Returns:
        A list of dicts with names of `columns`, for objects 1..n in their order.

    Raises:
        ImportError: if scikit-image is not installed.
    """
    skimage = require("skimage.measure", '"keras-deepskip[measures]"', "`measures`")
    names = columns(image.shape[-1], sized=False)
    if not labels.any():
        return []
    found = skimage.regionprops_table(labels, image, properties=(*SHAPE, "intensity_mean"))
    intensities = [f"intensity_mean-{channel}" for channel in range(image.shape[-1])]
    if "intensity_mean" in found:  # of one channel
        intensities = ["intensity_mean"]
    values = [np.asarray(found[name], "float64").tolist() for name in (*SHAPE, *intensities)]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    if pixel_size is None:
        return rows
    areas = np.bincount(labels.ravel())[1:].tolist()
    return [
        row | _in_micrometres(row, area, *pixel_size) for row, area in zip(rows, areas, strict=True)
    ]


def _in_micrometres(row, area, height, width):
    """The measures of an object in micrometres; the perimeter where pixels are square."""
    found = {
        "area_um2": area * height * width,
        "equivalent_diameter_um": row["equivalent_diameter"] * math.sqrt(height * width),
    }
    if math.isclose(height, width, rel_tol=1e-3):
        found["perimeter_um"] = row["perimeter"] * height
    return found


def counts(name, rows, pixels, num_classes):
    """The lines of `images.csv` of an image: one for each class.

    Args:
        name: of the image.
        rows: its objects, as in `object_table`.
        pixels: of the image.
        num_classes: channels of the model's outputs.
    """
    lines = []
    for class_id in range(1, max(num_classes, 2)):
        areas = [row["area"] for row in rows if row["class_id"] == class_id]
        mean = round(sum(areas) / len(areas), 2) if areas else None
        share = round(sum(areas) / pixels, 6)
        lines.append(
            dict(zip(IMAGE_COLUMNS, (name, class_id, len(areas), share, mean), strict=True))
        )
    return lines
