"""Where the pixels of a TIFF lie: their size in micrometres, and their place on a map."""

import dataclasses
import os
from pathlib import Path

import numpy as np

from keras_deepskip.data import _decoders

MICROMETRES = {
    "nm": 1e-3, "nanometer": 1e-3, "um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00b5m": 1.0, "micron": 1.0,
    "microns": 1.0, "micrometer": 1.0, "mm": 1e3, "millimeter": 1e3, "cm": 1e4,
}  # fmt: skip
SCALE, TIES, MATRIX, KEYS = 33550, 33922, 34264, 34735
MAP_TAGS = (SCALE, TIES, MATRIX, KEYS, 34736, 34737)
RASTER_TYPE, OF_POINTS, PROJECTED, GEOGRAPHIC = 1025, 2, 3072, 2048  # GeoTIFF's keys
USER_DEFINED = 32767


@dataclasses.dataclass(frozen=True)
class Placement:
    """What a file says of the place of its pixels; None where it says nothing.

    Attributes:
        pixel_size: height and width of a pixel in micrometres (OME-TIFF, ImageJ's TIFF).
        transform: `(a, b, c, d, e, f)` of a GeoTIFF: a corner of pixels at (x, y) of the image is
            at (a x + b y + c, d x + e y + f) on the map.
        epsg: number of the map's coordinate system.
        tags: the file's GeoTIFF tags, as tifffile writes them.
    """

    pixel_size: tuple[float, float] | None = None
    transform: tuple[float, ...] | None = None
    epsg: int | None = None
    tags: tuple = ()

    def on_map(self, points: np.ndarray) -> np.ndarray:
        """Brings points (N, 2) of the image, x and y in pixels, to the map."""
        if self.transform is None:
            raise ValueError("a GeoTIFF's placement was expected. Received: transform=None")
        matrix = np.array(self.transform).reshape(2, 3)
        return points @ matrix[:, :2].T + matrix[:, 2]


def placement_of(path: str | os.PathLike) -> Placement:
    """Reads where the pixels of an image lie.

    Args:
        path: an image file. Other files than TIFF, and TIFF that is shown turned, say nothing.

    Returns:
        A `Placement`.

    Raises:
        ValueError: if the file is damaged.

    Example:

    ```python
    print(placement_of("slide.ome.tif").pixel_size)  # (0.5, 0.5): micrometres
    ```
    """
    path = Path(path)
    if not path.is_file() or not _decoders.head_of(path).startswith(_decoders.TIFF):
        return Placement()
    with _decoders.opened_tiff(path) as file:
        page = _decoders.main_page(file)
        if _decoders.page_orientation(page) != 1:
            return Placement()
        tags = [page.tags[code] for code in MAP_TAGS if code in page.tags]
        keys = _geo_keys(page.tags)
        return Placement(
            _ome_size(file) if file.is_ome else _imagej_size(file),
            _transform(page.tags, keys),
            _epsg(keys),
            tuple((tag.code, int(tag.dtype), tag.count, tag.value, True) for tag in tags),
        )


def _ome_size(file):
    """`PhysicalSizeY` and `PhysicalSizeX` of OME-TIFF."""
    import tifffile

    image = tifffile.xml2dict(file.ome_metadata).get("OME", {}).get("Image", {})
    pixels = (image[0] if isinstance(image, list) else image).get("Pixels", {})
    sizes = []
    for axis in "YX":
        unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")
        sizes.append(micrometres(pixels.get(f"PhysicalSize{axis}"), unit))
    return None if None in sizes else tuple(sizes)


def _imagej_size(file):
    """ImageJ's unit is in its description, how many pixels it has in the tags of resolution."""
    unit = (file.imagej_metadata or {}).get("unit")
    sizes = []
    for name in ("YResolution", "XResolution"):
        tag = file.pages[0].tags.get(name)
        pixels, units = (0, 1) if tag is None else tag.value
        sizes.append(micrometres(units / pixels if pixels else None, unit))
    return None if None in sizes else tuple(sizes)


def micrometres(size, unit):
    """A length in a unit of its file in micrometres; None if there is none that makes sense."""
    try:
        size = float(size)
    except (TypeError, ValueError):
        return None
    factor = MICROMETRES.get(str(unit).lower())
    return size * factor if factor and 0 < size < float("inf") else None


def _geo_keys(tags):
    """GeoTIFF's keys whose values stand in the directory itself."""
    if KEYS not in tags:
        return {}
    entries = np.reshape(tags[KEYS].value[4 : len(tags[KEYS].value) // 4 * 4], (-1, 4))
    return {int(key): int(value) for key, place, _, value in entries if place == 0}


def _epsg(keys):
    """The projected system; the geographic one where there is none."""
    number = keys.get(PROJECTED, keys.get(GEOGRAPHIC))
    return number if number and number != USER_DEFINED else None


def _transform(tags, keys):
    """From the corners of pixels to the map, by a matrix or by a scale and one tie point."""
    if MATRIX in tags:
        m = tags[MATRIX].value
        a, b, c, d, e, f = m[0], m[1], m[3], m[4], m[5], m[7]
    elif SCALE in tags and TIES in tags and len(tags[TIES].value) == 6:
        across, down, _ = tags[SCALE].value
        column, row, _, x, y, _ = tags[TIES].value
        a, b, c, d, e, f = across, 0.0, x - column * across, 0.0, -down, y + row * down
    else:
        return None
    half = 0.5 if keys.get(RASTER_TYPE) == OF_POINTS else 0.0  # the middle of a pixel is meant
    return (a, b, c - half * (a + b), d, e, f - half * (d + e))
