"""How a folder of data is laid out: the names of its parts, and the words that tell it."""

PARTS = ("train", "val", "test")
# Names of their folders, as tools export them.
PART_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
LAYOUT = (
    "the layout is FOLDER/images/NAME.png (.jpg, .jpeg, .tif, .tiff) with FOLDER/masks/NAME.png "
    "(or NAME_mask.png), or instead of masks/ COCO's FOLDER/annotations.json, or YOLO's outlines, "
    "FOLDER/labels/NAME.txt with FOLDER/data.yaml"
)
