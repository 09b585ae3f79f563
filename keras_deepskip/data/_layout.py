"""How a folder of data is laid out: the names of its parts, and the words that tell it."""

PARTS = ("train", "val", "test")
# Names of their folders, as tools export them.
PART_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
LAYOUT = """the layout is
    FOLDER/images/NAME.png    (.png, .jpg, .jpeg, .tif or .tiff)
    FOLDER/masks/NAME.png     (same name, any of these suffixes; NAME_mask.png will do)
or, instead of masks/, a COCO file FOLDER/annotations.json,
or YOLO's texts of outlines, FOLDER/labels/NAME.txt, and FOLDER/data.yaml"""
