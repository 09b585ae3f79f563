"""Readers of sets whose masks are image files: as their authors published them."""

import functools

import numpy as np

from keras_deepskip.data import images
from keras_deepskip.data.images import read_mask
from keras_deepskip.data.importers import _entry
from keras_deepskip.data.importers._entry import Entry, Reading
from keras_deepskip.data.importers._shape_entries import find_parted
from keras_deepskip.data.masks import MaskReading, read_ids

# ---------------------------------------------------------------------------------------- BBBC038

BBBC038_LAYOUT = """    SOURCE/ID/images/ID.png
    SOURCE/ID/masks/*.png    (one file for each nucleus)"""


def read_bbbc038(source, classes):
    """The training images of the 2018 Data Science Bowl, a file for each nucleus."""

    def fits(folder):
        return any(map(has_masks, _entry.folders(folder)))

    def has_masks(folder):
        return (folder / "masks").is_dir() and (folder / "images").is_dir()

    root = _entry.find_root(source, fits, BBBC038_LAYOUT)
    entries = []
    for folder in _entry.folders(root):
        found = _entry.files(folder / "images")
        masks = _entry.files(folder / "masks")
        if len(found) != 1 or not masks:
            raise ValueError(
                f"{folder}: one image and the masks of its nuclei were expected. Received: "
                f"{len(found)} images, {len(masks)} masks; the layout is\n{BBBC038_LAYOUT}\nUnpack "
                "it again, or take the folder out"
            )
        read_mask = functools.partial(_read_bbbc038, masks, classes["nucleus"])
        entries.append(Entry(folder.name, found[0], read_mask, sources=tuple(masks)))
    return Reading(entries, classes)


def _read_bbbc038(masks, label, instances):
    numbers = None
    for number, path in enumerate(masks, start=1):
        binary = _entry.read_binary(path)
        if numbers is None:
            numbers = np.zeros(binary.shape, np.int32)
        _check_same_size(binary, numbers, path, masks[0])
        numbers[binary] = number
    return np.where(numbers > 0, np.int32(label), np.int32(0)), numbers if instances else None


# ----------------------------------------------------------------------------------------- EMDS-6

EMDS6_LAYOUT = """    SOURCE/EMDS5-Original/01/NAME.png
    SOURCE/EMDS5-Ground Truth/01/NAME-GTM.png    (folders 01 to 21, one for each kind)"""
EMDS6_KINDS = (
    "actinophrys", "arcella", "aspidisca", "codosiga", "colpoda", "epistylis", "euglypha",
    "paramecium", "rotifera", "vorticella", "noctiluca", "ceratium", "stentor", "siprostomum",
    "keratella_quadrala", "euglena", "gymnodinium", "gonyaulax", "phacus", "stylongchia",
    "synchaeta",
)  # fmt: skip


def read_emds6(source, classes):
    """EMDS-6: 21 kinds of environmental microorganisms, a folder for each."""

    def fits(folder):
        return bool(_emds6_folder(folder, "Original") and _emds6_folder(folder, "Ground Truth"))

    root = _entry.find_root(source, fits, EMDS6_LAYOUT)
    originals, truths = (_emds6_folder(root, ending) for ending in ("Original", "Ground Truth"))
    entries = []
    for folder in _entry.folders(originals):
        if not (folder.name.isdecimal() and 1 <= int(folder.name) <= len(EMDS6_KINDS)):
            raise ValueError(
                f"{folder}: folders 01 to {len(EMDS6_KINDS)} were expected. Received: "
                f"{folder.name!r}. Take the folder out"
            )
        label = classes.get(EMDS6_KINDS[int(folder.name) - 1], 0)
        for image in _entry.files(folder):
            mask = _emds6_mask(truths / folder.name, image)
            read_mask = functools.partial(_read_one, mask, label)
            name = f"{folder.name}_{image.stem}"
            entries.append(Entry(name, image, read_mask, sources=(mask,)))
    return Reading(entries, classes)


def _emds6_folder(folder, ending):
    """The folder of images or masks: its name says EMDS5, and elsewhere EMDS6."""
    return next((path for path in _entry.folders(folder) if path.name.endswith(ending)), None)


def _emds6_mask(folder, image):
    for stem in (f"{image.stem}-GTM", f"{image.stem}_GTM", image.stem):
        if (folder / f"{stem}.png").is_file():
            return folder / f"{stem}.png"
    return _entry.require_file(folder / f"{image.stem}-GTM.png", f"the mask of {image.name}")


def _read_one(path, label, instances):
    return np.where(_entry.read_binary(path), np.int32(label), np.int32(0)), None


# ------------------------------------------------------------------------------------------ IDRiD

IDRID_LAYOUT = """    SOURCE/1. Original Images/a. Training Set/IDRiD_01.jpg
    SOURCE/2. All Segmentation Groundtruths/a. Training Set/1. Microaneurysms/IDRiD_01_MA.tif
    and so on for 2. Haemorrhages (_HE), 3. Hard Exudates (_EX), 4. Soft Exudates (_SE),
    5. Optic Disc (_OD), and for b. Testing Set"""
IDRID_PARTS = {"a. Training Set": "train", "b. Testing Set": "test"}
# The order of drawing: what is mostly larger first, as where two overlap the later one lies on top.
IDRID_CLASSES = {
    "optic_disc": ("5. Optic Disc", "_OD"),
    "soft_exudate": ("4. Soft Exudates", "_SE"),
    "haemorrhage": ("2. Haemorrhages", "_HE"),
    "hard_exudate": ("3. Hard Exudates", "_EX"),
    "microaneurysm": ("1. Microaneurysms", "_MA"),
}


def read_idrid(source, classes):
    """IDRiD, part A: lesions of the retina, a file for each kind that an image has."""
    pictures, truths = "1. Original Images", "2. All Segmentation Groundtruths"
    root = _entry.find_root(
        source,
        lambda folder: (folder / pictures).is_dir() and (folder / truths).is_dir(),
        IDRID_LAYOUT,
    )
    entries = []
    for name, part in IDRID_PARTS.items():
        for image in _entry.files(root / pictures / name):
            masks = {
                kind: root / truths / name / folder / f"{image.stem}{ending}.tif"
                for kind, (folder, ending) in IDRID_CLASSES.items()
            }
            there = {kind: path for kind, path in masks.items() if path.is_file()}
            if not there:
                raise FileNotFoundError(
                    f"{image}: a mask of one lesion at least was expected. Received: none, such as "
                    f"{masks['microaneurysm']}; the layout is\n{IDRID_LAYOUT}\nUnpack the set again"
                )
            chosen = [(path, classes[kind]) for kind, path in there.items() if kind in classes]
            read_mask = functools.partial(_read_idrid, image, chosen)
            sources = tuple(path for path, _ in chosen)
            entries.append(Entry(image.stem, image, read_mask, part, sources))
    return Reading(entries, classes)


def _read_idrid(image, masks, instances):
    classes = np.zeros(images.image_size(image), np.int32)
    for path, label in masks:
        binary = _entry.read_binary(path)
        _check_same_size(binary, classes, path, image)
        classes[binary] = label
    return classes, None


# ------------------------------------------------------------------------------------------- SUIM

SUIM_LAYOUT = """    SOURCE/train_val/images/NAME.jpg
    SOURCE/train_val/masks/NAME.bmp
    SOURCE/TEST/images/NAME.jpg
    SOURCE/TEST/masks/NAME.bmp       (either of the two folders will do)"""
SUIM_PARTS = {"train_val": "train", "TEST": "test"}
# By the colour's bits: 4 for red, 2 for green, 1 for blue.
SUIM_CLASSES = ("background", "diver", "plant", "wreck", "robot", "reef", "fish", "sea_floor")
SUIM_SLACK = 2  # rows or columns by which a mask may differ from its image


def read_suim(source, classes):
    """SUIM: eight colours under water."""

    def fits(folder):
        return any((folder / name / "masks").is_dir() for name in SUIM_PARTS)

    root = _entry.find_root(source, fits, SUIM_LAYOUT)
    labels = np.array([classes.get(name, 0) for name in SUIM_CLASSES], np.int32)
    entries = []
    for name, part in SUIM_PARTS.items():
        masks = _entry.by_name(root / name / "masks", (".bmp", ".png"))
        for image in _entry.files(root / name / "images"):
            default = root / name / "masks" / f"{image.stem}.bmp"
            mask = masks.get(image.stem) or _entry.require_file(
                default, f"the mask of {image.name}"
            )
            read_mask = functools.partial(_read_suim, image, mask, labels)
            entries.append(Entry(image.stem, image, read_mask, part, (mask,)))
    return Reading(entries, classes)


def _read_suim(image, mask, labels, instances):
    """Some of the published colours are not pure: each part of one counts from its half on."""
    bits = images.to_channels(_entry.read_picture(mask), 3, mask) >= 128
    classes = labels[bits @ np.array([4, 2, 1])]
    height, width = _entry.picture_size(image)
    lack = height - classes.shape[0], width - classes.shape[1]
    if 0 < max(map(abs, lack)) <= SUIM_SLACK:  # the caller reports a larger difference
        classes = np.pad(classes, [(0, max(lack[0], 0)), (0, max(lack[1], 0))], mode="edge")
        classes = classes[:height, :width]
    return classes, None


# -------------------------------------------------------------------------------------- Penn-Fudan

PENN_FUDAN_LAYOUT = """    SOURCE/PNGImages/NAME.png
    SOURCE/PedMasks/NAME_mask.png    (0, and a number for each pedestrian)"""


def read_penn_fudan(source, classes):
    """Penn-Fudan: pedestrians by number."""
    root = _entry.find_root(
        source,
        lambda folder: (folder / "PNGImages").is_dir() and (folder / "PedMasks").is_dir(),
        PENN_FUDAN_LAYOUT,
    )
    entries = []
    for image in _entry.files(root / "PNGImages"):
        mask = root / "PedMasks" / f"{image.stem}_mask.png"
        _entry.require_file(mask, f"the mask of {image.name}")
        read_mask = functools.partial(_read_numbered, mask, classes["pedestrian"])
        entries.append(Entry(image.stem, image, read_mask, sources=(mask,)))
    return Reading(entries, classes)


def _read_numbered(path, label, instances):
    numbers = read_ids(path).astype(np.int32)
    return np.where(numbers > 0, np.int32(label), np.int32(0)), numbers if instances else None


# --------------------------------------------------------------------------------------- Cellpose

CELLPOSE_LAYOUT = """    SOURCE/NAME.tif
    SOURCE/NAME_masks.tif    (or .png: 0, and a number for each cell)
or such a folder as SOURCE/train, SOURCE/val, SOURCE/test"""
CELLPOSE_ENDING = "_masks"
CELLPOSE_OTHERS = ("_flows", "_cp_outlines", "_outlines", "_cp_output")  # what it writes besides
CELLPOSE_IMAGE = "_img"  # that names of images may end in, and those of their masks then do not


def read_cellpose(source, classes):
    """Images beside the masks that Cellpose, or who corrects them in it, numbered."""
    _, parts = find_parted(source, _cellpose_masks, CELLPOSE_LAYOUT)
    entries = []
    for folder, part in parts:
        masks = _cellpose_masks(folder)
        for image in _entry.files(folder):
            if image.stem.endswith((CELLPOSE_ENDING, "_cp_masks", *CELLPOSE_OTHERS)):
                continue
            known = (image.stem, image.stem.removesuffix(CELLPOSE_IMAGE))
            mask = next((masks[name] for name in known if name in masks), None)
            mask = mask or _entry.require_file(
                image.with_name(f"{image.stem}{CELLPOSE_ENDING}.tif"), f"the mask of {image.name}"
            )
            read_mask = functools.partial(_read_numbered, mask, classes["cell"])
            entries.append(Entry(image.stem, image, read_mask, part, (mask,)))
    return Reading(entries, classes)


def _cellpose_masks(folder):
    """The masks of a folder by the names of their images; the program writes `_cp_masks`."""
    found = _entry.by_name(folder, (".tif", ".tiff", ".png"), CELLPOSE_ENDING)
    return {name.removesuffix("_cp"): path for name, path in found.items()}


# ------------------------------------------------------------------------------------------- iSAID

ISAID_LAYOUT = """    SOURCE/train/images/NAME.png
    SOURCE/train/images/NAME_instance_color_RGB.png    (the masks: here or in a folder of train/)
    SOURCE/train/images/NAME_instance_id_RGB.png       (what keeps its objects apart; may be absent)
    SOURCE/val/...                                     (either of the two folders will do)"""
ISAID_PARTS = {"train": "train", "val": "test"}  # the masks of its own test part are withheld
ISAID_COLOR, ISAID_ID = "_instance_color_RGB", "_instance_id_RGB"
ISAID_COLORS = {
    "background": (0, 0, 0),
    "ship": (0, 0, 63),
    "storage_tank": (0, 63, 63),
    "baseball_diamond": (0, 63, 0),
    "tennis_court": (0, 63, 127),
    "basketball_court": (0, 63, 191),
    "Ground_Track_Field": (0, 63, 255),
    "Bridge": (0, 127, 63),
    "Large_Vehicle": (0, 127, 127),
    "Small_Vehicle": (0, 0, 127),
    "Helicopter": (0, 0, 191),
    "Swimming_pool": (0, 0, 255),
    "Roundabout": (0, 191, 127),
    "Soccer_ball_field": (0, 127, 191),
    "plane": (0, 127, 255),
    "Harbor": (0, 100, 155),
}


def read_isaid(source, classes):
    """iSAID: colours of 15 classes seen from above, on the images of DOTA."""

    def fits(folder):
        return any((folder / name / "images").is_dir() for name in ISAID_PARTS)

    root = _entry.find_root(source, fits, ISAID_LAYOUT)
    colors = {color: classes.get(name, 0) for name, color in ISAID_COLORS.items()}
    entries = []
    for name, part in ISAID_PARTS.items():
        masks = _isaid_masks(root / name, ISAID_COLOR)
        numbers = _isaid_masks(root / name, ISAID_ID)
        for image in _entry.files(root / name / "images", (".png",)):
            if image.stem.endswith((ISAID_COLOR, ISAID_ID)):
                continue
            mask = masks.get(image.stem) or _entry.require_file(
                image.with_name(f"{image.stem}{ISAID_COLOR}.png"), f"the mask of {image.name}"
            )
            numbered = numbers.get(image.stem, image.with_name(f"{image.stem}{ISAID_ID}.png"))
            read_mask = functools.partial(_read_isaid, mask, numbered, colors)
            entries.append(Entry(image.stem, image, read_mask, part, (mask, numbered)))
    return Reading(entries, classes)


def _isaid_masks(folder, ending):
    """The masks of a part by the names of their images; its archives nest them differently."""
    found = {}
    for path in sorted(folder.rglob(f"*{ending}.png")):
        found.setdefault(path.stem[: -len(ending)], path)
    return found


def _read_isaid(mask, numbered, colors, instances):
    classes = read_mask(mask, MaskReading(colors=colors))
    if not instances or not numbered.is_file():  # the archive of ids is one by itself
        return classes, None
    rgb = images.to_channels(images.read_image(numbered), 3, numbered).astype(np.int32)
    numbers = rgb @ np.array([1 << 16, 1 << 8, 1], np.int32)
    _check_same_size(numbers, classes, numbered, mask)
    return classes, numbers


def _check_same_size(mask, other, path, other_path):
    if mask.shape != other.shape:
        raise ValueError(
            f"{path}: a mask of the size of {other_path} was expected, {_size(other)}. Received: "
            f"{_size(mask)}. Unpack the set again, or take the image out"
        )


def _size(array):
    return f"{array.shape[0]} x {array.shape[1]}"
