"""Readers of the user's own images with outlines: Ultralytics' YOLO texts and QuPath's GeoJSON."""

from pathlib import Path

from keras_deepskip._files import read_json
from keras_deepskip.data._layout import PART_FOLDERS, same_name
from keras_deepskip.data.importers import _entry
from keras_deepskip.data.importers._entry import Reading
from keras_deepskip.data.importers._shape_entries import (
    Labels,
    checked_shape,
    find_parted,
    pictures_beside,
    shape_entry,
)
from keras_deepskip.data.importers._shapes import Polygon
from keras_deepskip.data.yolo import class_names, names_file, read_outlines, texts_by_name

# ------------------------------------------------------------------------------------------- YOLO

YOLO_LAYOUT = """    SOURCE/data.yaml                  (names of the classes)
    SOURCE/images/train/NAME.jpg
    SOURCE/labels/train/NAME.txt      (one line per object: class, then x y x y ... of its outline)
and so on for val and test; or SOURCE/train/images and SOURCE/train/labels"""


def read_yolo(source, classes):
    """Images and outlines as Ultralytics has them for segmentation."""
    root = _entry.find_root(source, lambda folder: bool(_yolo_folders(folder)), YOLO_LAYOUT)
    listed = names_file((root,))
    names = class_names(listed)
    if classes is None:
        classes = {name: label for label, name in enumerate(names, start=1)}
    missing = [name for name in classes if name not in names]
    if missing:
        raise ValueError(
            f"{root}: classes of data.yaml were expected: {', '.join(names)}. Received: "
            f"{', '.join(missing)}"
        )
    ids = [classes.get(name, 0) for name in names]
    entries = []
    for images, labels, part in _yolo_folders(root):
        texts = texts_by_name(labels)
        for image in _entry.files(images):
            text = texts.get(same_name(image.stem), labels / f"{image.stem}.txt")
            outlines = read_outlines(text, _entry.picture_size(image), len(names))
            shapes = [
                checked_shape(Polygon, tuple(map(tuple, points.tolist())), text)
                for _, _, points in outlines
            ]
            chosen = [ids[number] for _, number, _ in outlines]
            entries.append(shape_entry(image, shapes, chosen, part, (listed, text)))
    return Reading(entries, classes)


def _yolo_folders(root):
    """Folders of images, of their labels, and the part that they are."""
    found = []
    for part, names in PART_FOLDERS.items():
        for name in names:
            for images, labels in (("images/{}", "labels/{}"), ("{}/images", "{}/labels")):
                pair = root / images.format(name), root / labels.format(name)
                if all(folder.is_dir() for folder in pair):
                    found.append((*pair, part))
    pair = root / "images", root / "labels"
    if not found and all(folder.is_dir() for folder in pair):
        found.append((*pair, None))
    return found


# ----------------------------------------------------------------------------------------- QuPath

QUPATH_LAYOUT = """    SOURCE/NAME.geojson  (exported by QuPath: a FeatureCollection or a list)
    SOURCE/NAME.tif      (its image, next to it or in images/)
or such a folder as SOURCE/train, SOURCE/val, SOURCE/test"""


def read_qupath(source, classes):
    """Images whose objects QuPath exported as GeoJSON, in pixels."""
    root, parts = find_parted(source, _geojson_files, QUPATH_LAYOUT)
    entries, seen = [], Labels(classes)
    for folder, part in parts:
        for path in _geojson_files(folder):
            image = _qupath_image(folder, path)
            shapes, labels = [], []
            for feature in _features(path):
                shapes.append(checked_shape(_qupath_shape, feature, path))
                labels.append(seen.label(_qupath_names(feature), path))
            entries.append(shape_entry(image, shapes, labels, part, (path,)))
    return Reading(entries, seen.checked(root))


def _geojson_files(folder):
    return _entry.files(folder, (".geojson", ".json"))


def _features(path):
    content = read_json(path, "objects as QuPath exports them")
    features = content.get("features") if isinstance(content, dict) else content
    whole = isinstance(features, list) and all(isinstance(one, dict) for one in features)
    if not whole:
        raise ValueError(
            f"{path}: a FeatureCollection, or a list of features, was expected. Received: "
            f"{str(content)[:80]}. Take other JSON files out of the folder"
        )
    if isinstance(content, dict) and "crs" in content:
        raise ValueError(
            f"{path}: outlines in pixels were expected. Received: a map's coordinates (`crs`). "
            "Export them in pixels"
        )
    return features


def _qupath_image(folder, path):
    """The image of a file: of the same name, also where that ends in .ome or the image's suffix."""
    images = pictures_beside(folder)
    whole, shorter = same_name(path.stem), same_name(Path(path.stem).stem)
    ways = [(whole, "stem"), (whole, "name"), (shorter, "stem")]  # the nearest first
    for wanted, part in ways:
        for image in images:
            if same_name(getattr(image, part)) == wanted:
                return image
    raise FileNotFoundError(
        f"{path}: its image was expected next to it or in images/. Received: no image named "
        f"{path.stem}. Put it there, or take the file out"
    )


def _qupath_names(feature):
    """The names of an object's classes, as versions and scripts write them: one, several, none."""
    properties = feature.get("properties")
    said = properties.get("classification") if isinstance(properties, dict) else None
    if isinstance(said, dict):
        said = said.get("names") or said.get("name")
    return {str(name) for name in (said if isinstance(said, list) else [said]) if name is not None}


def _qupath_shape(feature):
    """All rings of an object as one outline: filled by the even-odd rule, their joints vanish."""
    geometry = feature["geometry"]
    pieces = {"Polygon": [geometry["coordinates"]], "MultiPolygon": geometry["coordinates"]}
    if geometry["type"] not in pieces:
        raise ValueError(f"a {geometry['type']}, which covers no pixels")
    rings = [ring for piece in pieces[geometry["type"]] for ring in piece]
    first, *others = ([(float(x), float(y)) for x, y in ring] for ring in rings)
    points = [*first, first[0]]
    for ring in others:
        points += [*ring, ring[0], first[0]]
    return Polygon(tuple(points))
