"""`rois/NAME.zip`: the outlines of an image's objects as regions of ImageJ and Fiji."""

from keras_deepskip import _files
from keras_deepskip._checks import require
from keras_deepskip.inference.forms.polygons import path_of, polygons_of


class ImageJ:
    """Writes a file an image; regions are named by number and class, as in `objects.csv`."""

    def __init__(self, folder, names, num_classes):
        extra = '"keras-deepskip[outlines]"'
        self.roifile = require("roifile", extra, "`formats=['imagej']`")
        require("shapely", extra, "`formats=['imagej']`")
        self.folder, self.names = folder / "rois", names or {}

    def add(self, sample, labels, rows):
        """Writes an image's file."""
        regions = []
        for number, (row, outline) in enumerate(zip(rows, polygons_of(labels), strict=True), 1):
            name = self.names.get(row["class_id"], f"class {row['class_id']}")
            points = path_of(outline).astype("int32")  # corners of pixels are whole numbers
            regions.append(self.roifile.ImagejRoi.frompoints(points, name=f"{number} {name}"))
        self.folder.mkdir(parents=True, exist_ok=True)
        with _files.replacing(self.folder / f"{sample.name}.zip") as new:
            self.roifile.roiwrite(new, regions, mode="w")

    def finish(self):
        """Each image has its file already."""
