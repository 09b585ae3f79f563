"""`zarr/NAME.ome.zarr`: the image with its labels as OME-Zarr (NGFF 0.5), for napari and others.

The label images lie where the specification has them, in `labels/` of the image's group: `objects`
(the objects' numbers) and `classes` (class ids), each of one level, as the image is.
"""

import numpy as np

from keras_deepskip import _files
from keras_deepskip._checks import require
from keras_deepskip.inference.forms.form import Form
from keras_deepskip.inference.sinks import label_type
from keras_deepskip.inference.zarrs import LARGE, VERSION, multiscale


class OmeZarr(Form):
    """Writes a folder an image."""

    name, packages = "ome-zarr", {"zarr": "large"}
    file = "zarr/{}.ome.zarr"

    def add(self, found):
        """Writes an image's folder."""
        objects = [
            {
                "label-value": number, "class_id": row["class_id"],
                "class": self.names[row["class_id"]], "area": row["area"],
                "probability": round(row["mean_probability"], 4),
            }
            for number, row in enumerate(found.rows, start=1)
        ]  # fmt: skip
        classes = [{"label-value": i, "class": name} for i, name in self.names.items()]
        labels = {
            "objects": (found.labels.astype(label_type(len(found.rows))), objects),
            "classes": (found.mask.astype(np.min_scalar_type(max(self.names))), classes),
        }
        path = self.folder / self.file.format(found.sample.name)
        with _files.replacing_folder(path) as new:
            _write(new, found.sample.name, found.image, labels, found.place.pixel_size)


def _write(path, name, image, labels, pixel_size):
    """Writes a group.

    Args:
        path: of the group.
        name: of the image.
        image: array (H, W, C).
        labels: dict from a name to (array (H, W), properties of its values).
        pixel_size: height and width of a pixel in micrometres, or None.
    """
    zarr = require("zarr", LARGE, "`formats=['ome-zarr']`")
    group = zarr.open_group(str(path), mode="w", zarr_format=3)
    _add_level(group, np.moveaxis(image, -1, 0))
    group.attrs["ome"] = {
        "version": VERSION,
        "multiscales": [{"name": name, **multiscale(("c", "y", "x"), pixel_size)}],
    }
    folder = group.create_group("labels")
    folder.attrs["ome"] = {"version": VERSION, "labels": list(labels)}
    for label, (array, properties) in labels.items():
        own = folder.create_group(label)
        _add_level(own, array)
        own.attrs["ome"] = {
            "version": VERSION,
            "multiscales": [{"name": label, **multiscale(("y", "x"), pixel_size)}],
            "image-label": {"properties": properties, "source": {"image": "../../"}},
        }


def _add_level(group, array):
    chunks = (1,) * (array.ndim - 2) + tuple(min(length, 512) for length in array.shape[-2:])
    names = ("c", "y", "x")[-array.ndim :]
    level = group.create_array(
        "0", shape=array.shape, chunks=chunks, dtype=array.dtype, dimension_names=names
    )
    level[:] = array
