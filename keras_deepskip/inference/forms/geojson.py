"""`geojson/NAME.geojson`: the outlines of an image's objects, for QuPath and GIS."""

import json

import numpy as np

from keras_deepskip import _files
from keras_deepskip.inference.forms.form import Form


class GeoJson(Form):
    """Writes a file an image: in map coordinates if the image is a GeoTIFF, else in pixels."""

    name, packages = "geojson", {"shapely": "outlines"}
    file = "geojson/{}.geojson"

    def add(self, found):
        """Writes an image's file."""
        import shapely

        place, outlines = found.place, found.polygons
        if place.transform is not None:
            outlines = [shapely.transform(own, place.on_map) for own in outlines]
        outlines = shapely.orient_polygons(np.array(outlines, object))
        content = {"type": "FeatureCollection"}
        if place.epsg is not None:
            name = f"urn:ogc:def:crs:EPSG::{place.epsg}"
            content["crs"] = {"type": "name", "properties": {"name": name}}
        content["features"] = [
            self._feature(number, row, outline)
            for number, (row, outline) in enumerate(zip(found.rows, outlines, strict=True), 1)
        ]
        text = json.dumps(content, ensure_ascii=False)
        _files.write_text(self.folder / self.file.format(found.sample.name), text)

    def _feature(self, number, row, outline):
        import shapely

        name, measured = self.names[row["class_id"]], {"area": row["area"]}
        measured["probability"] = round(row["mean_probability"], 4)
        properties = {
            # what QuPath reads, and what a GIS shows as columns
            "objectType": "detection", "classification": {"name": name}, "name": str(number),
            "measurements": measured,
            "object": number, "class_id": row["class_id"], "class": name, **measured,
        }  # fmt: skip
        geometry = json.loads(shapely.to_geojson(outline))
        return {"type": "Feature", "geometry": geometry, "properties": properties}
