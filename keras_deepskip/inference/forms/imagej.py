"""`rois/NAME.zip`: the outlines of an image's objects as regions of ImageJ and Fiji."""

from keras_deepskip import _files
from keras_deepskip.inference.forms.form import Form
from keras_deepskip.inference.forms.polygons import path_of


class ImageJ(Form):
    """Writes a file an image; regions are named by number and class, as in `objects.csv`."""

    name, packages = "imagej", {"roifile": "outlines", "shapely": "outlines"}
    file = "rois/{}.zip"

    def add(self, found):
        """Writes an image's file."""
        import roifile

        regions = []
        for number, (row, outline) in enumerate(zip(found.rows, found.polygons, strict=True), 1):
            name = f"{number} {self.names[row['class_id']]}"
            points = path_of(outline).astype("int32")  # corners of pixels are whole numbers
            regions.append(roifile.ImagejRoi.frompoints(points, name=name))
        with _files.replacing(self.folder / self.file.format(found.sample.name)) as new:
            roifile.roiwrite(new, regions, mode="w")
