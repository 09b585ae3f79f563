"""`geojson/NAME.geojson`: the outlines of an image's objects, for QuPath and GIS."""

import json

import numpy as np

from keras_deepskip import _files
from keras_deepskip._checks import require
from keras_deepskip.data.placement import placement_of
from keras_deepskip.inference.forms.polygons import polygons_of


class GeoJson:
    """Writes a file an image: in map coordinates if the image is a GeoTIFF, else in pixels."""

    def __init__(self, folder, names, num_classes):
        self.shapely = require("shapely", '"keras-deepskip[outlines]"', "`formats=['geojson']`")
        self.folder, self.names = folder / "geojson", names or {}

    def add(self, sample, labels, rows):
        """Writes an image's file."""
        place = placement_of(sample.image)
        outlines = polygons_of(labels)
        if place.transform is not None:
            outlines = [self.shapely.transform(own, place.on_map) for own in outlines]
        outlines = self.shapely.orient_polygons(np.array(outlines, object))
        content = {"type": "FeatureCollection"}
        if place.epsg is not None:
            name = f"urn:ogc:def:crs:EPSG::{place.epsg}"
            content["crs"] = {"type": "name", "properties": {"name": name}}
        content["features"] = [
            self._feature(number, row, outline)
            for number, (row, outline) in enumerate(zip(rows, outlines, strict=True), start=1)
        ]
        text = json.dumps(content, ensure_ascii=False)
        _files.write_text(self.folder / f"{sample.name}.geojson", text)

    def _feature(self, number, row, outline):
        name = self.names.get(row["class_id"], f"class {row['class_id']}")
        properties = {
            "objectType": "detection", "classification": {"name": name},
            "object": number, "class_id": row["class_id"], "class": name, "area": row["area"],
            "probability": round(row["mean_probability"], 4),
        }  # fmt: skip
        geometry = json.loads(self.shapely.to_geojson(outline))
        return {"type": "Feature", "geometry": geometry, "properties": properties}

    def finish(self):
        """Each image has its file already."""
