"""Objects in the forms that other tools open, which `predict` is asked for by their names."""

from keras_deepskip import _checks
from keras_deepskip.inference.forms.coco import Coco
from keras_deepskip.inference.forms.form import ImageObjects
from keras_deepskip.inference.forms.geojson import GeoJson
from keras_deepskip.inference.forms.imagej import ImageJ
from keras_deepskip.inference.forms.label_studio import LabelStudio
from keras_deepskip.inference.forms.ome_zarr import OmeZarr
from keras_deepskip.inference.forms.yolo import Yolo

FORMS = {form.name: form for form in (Coco, GeoJson, ImageJ, LabelStudio, OmeZarr, Yolo)}
__all__ = ["FORMS", "ImageObjects", "forms_of"]


def forms_of(formats, folder, names, num_classes):
    """The writers of the forms that are asked for, each once.

    Args:
        formats: names in `FORMS`.
        folder: the folder that `predict` writes to.
        names: of the classes by id, or None; classes without one are called by their id.
        num_classes: channels of the model's outputs.

    Returns:
        A list of `Form`.

    Raises:
        ValueError: if a name is not known.
        ImportError: if a package is missing.
    """
    names = {i: (names or {}).get(i, f"class {i}") for i in range(1, max(num_classes, 2))}
    for form in formats:
        _checks.check_choice("formats", form, FORMS)
    return [FORMS[form](folder, names) for form in dict.fromkeys(formats)]
