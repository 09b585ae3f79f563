"""What `predict` has written, as layers: each image with its objects over it, and their table.

A layer is `(data, attributes, kind)`, napari's layer data. An image is read as `predict` read it.
"""

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LayerData = tuple[Any, dict[str, Any], str]
TABLE = "objects.csv"
MOST = 10  # images that are opened at once


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """The reader that napari asks for: of an `objects.csv` of `predict`, else None.

    Args:
        path: of a file, or a list of paths.
    """
    if not isinstance(path, str) or Path(path).name != TABLE or not _is_found(Path(path).parent):
        return None
    return read_objects


def read_objects(path: str | os.PathLike | list[str]) -> list[LayerData]:
    """Reads all images of a folder that `predict` has written, with their objects.

    Args:
        path: of its `objects.csv`.

    Returns:
        The layers of `layers_of`, image by image.

    Raises:
        ValueError: if there are more than 10 images.
    """
    folder = Path(path[0] if isinstance(path, list) else path).parent
    names = names_of(folder)
    if len(names) > MOST:
        raise ValueError(
            f"{folder / TABLE}: at most {MOST} images were expected, to be opened at once. "
            f"Received: {len(names)}. Open one at a time: Plugins, keras_deepskip, Found objects"
        )
    return [layer for name in names for layer in layers_of(folder, name)]


def names_of(folder: str | os.PathLike) -> list[str]:
    """The names of the images of a folder that `predict` has written, in the order of its tables.

    Args:
        folder: `out` of `predict`.

    Raises:
        FileNotFoundError: if it is none.
    """
    return list(_files_of(Path(folder)))


def layers_of(folder: str | os.PathLike, name: str) -> list[LayerData]:
    """An image of a folder that `predict` has written, and its objects.

    Args:
        folder: `out` of `predict`.
        name: of the image, as in the tables.

    Returns:
        Layers: the image, of some numbers of channels one for each; and the labels, whose
        `features` are the objects' lines of `objects.csv` by their numbers (`index`). If the image
        is not where it was, its overlay is in its place, or nothing.

    Raises:
        FileNotFoundError: if the folder or the image's labels are not there.
        ValueError: if the image now has another size.

    Example:

    ```python
    layers = layers_of("found", "well3")
    ```
    """
    import tifffile

    folder = Path(folder)
    files = _files_of(folder)
    path = folder / "labels" / f"{name}.tif"
    if name not in files or not path.is_file():
        raise FileNotFoundError(
            f"{path}: the objects of an image of {folder} were expected. Received: no such file. "
            f"There are: {', '.join(list(files)[:5])}{', ...' if len(files) > 5 else ''}"
        )
    labels = tifffile.imread(path)
    attributes = {"name": f"{name} objects", "features": _features_of(folder, name)}
    return [*_image_of(folder, name, files[name], labels.shape), (labels, attributes, "labels")]


def _is_found(folder):
    return (folder / "labels").is_dir() and all(
        (folder / table).is_file() for table in (TABLE, "images.csv")
    )


def _received(folder):
    if not folder.is_dir():
        return "no such folder"
    return ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "an empty folder"


def _files_of(folder):
    """The image's file by each name; an error if `predict` has not written the folder."""
    if not _is_found(folder):
        raise FileNotFoundError(
            f"{folder}: a folder that `predict` has written was expected, with labels/, images.csv "
            f"and {TABLE}. Received: {_received(folder)}. Predict with --tables csv"
        )
    with (folder / "images.csv").open(newline="", encoding="utf-8") as table:
        return {row["image"]: row.get("file") or "" for row in csv.DictReader(table)}


def _features_of(folder, name):
    """The columns of `objects.csv`, of the objects of one image; `index` is an object's number."""
    with (folder / TABLE).open(newline="", encoding="utf-8") as table:
        reader = csv.DictReader(table)
        columns = [column for column in reader.fieldnames or () if column != "image"]
        rows = [row for row in reader if row["image"] == name]
    return {
        "index" if column == "object" else column: _values([row[column] for row in rows], column)
        for column in columns
    }


def _values(texts, column):
    """Numbers, whole ones where all are; what is left empty is NaN."""
    if column == "class_name":
        return texts
    numbers = np.array([float(text or "nan") for text in texts])
    whole = np.isfinite(numbers).all() and not any("." in text for text in texts)
    return numbers.astype("int64") if whole else numbers


def _image_of(folder, name, file, sizes):
    """The layers of an image, which must have the size of its labels; else that of its overlay."""
    path = Path(file)
    if not path.name or not path.exists():
        return _overlay_of(folder, name, sizes)
    image = _read(path)
    if image.shape[:2] != sizes:
        raise ValueError(
            f"{path}: an image of {sizes[0]} x {sizes[1]} pixels was expected, as its objects in "
            f"{folder}. Received: {image.shape[0]} x {image.shape[1]}. Predict it again"
        )
    return image_layers(image, name)


def _overlay_of(folder, name, sizes):
    """The overlay as a layer, in the size of the labels: that of a large image is reduced."""
    path = folder / "overlays" / f"{name}.png"
    if not path.is_file():
        return []
    image = _read(path)
    scale = np.divide(sizes, image.shape[:2])
    placed = {"scale": scale.tolist(), "translate": ((scale - 1) / 2).tolist()}
    return [(image, {"name": f"{name} overlay", "rgb": True, **placed}, "image")]


def _read(path):
    """An image as `predict` reads it: (H, W, C)."""
    from keras_deepskip.data import read_image
    from keras_deepskip.inference.zarrs import is_zarr, open_zarr

    if is_zarr(path):
        image = np.asarray(open_zarr(path)[:, :])
    elif path.suffix.lower() == ".npy":
        image = np.load(path, allow_pickle=False)
    else:
        image = read_image(path)
    return image[..., None] if image.ndim == 2 else image


def image_layers(image: np.ndarray, name: str) -> list[LayerData]:
    """An image (H, W, C) as layers: RGB as one, other channels each for itself."""
    channels = image.shape[-1]
    if channels == 3 and image.dtype == np.uint8:
        return [(image, {"name": name, "rgb": True}, "image")]
    names = [name] if channels == 1 else [f"{name} channel {place}" for place in range(channels)]
    return [(image[..., place], {"name": own}, "image") for place, own in enumerate(names)]
