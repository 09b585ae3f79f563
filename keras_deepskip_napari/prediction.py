"""The objects that a model finds in a layer: an image's layer data in, that of labels out."""

import dataclasses
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_deepskip_napari.results import LayerData

AUTO, STACK, FIRST, LAST = "automatic", "stack", "channels first", "channels last"
AXES = (AUTO, STACK, FIRST, LAST)
PLACED = ("scale", "translate", "units", "axis_labels")  # an entry for each axis
TURNED = ("affine", "rotate", "shear")  # of all axes together


class Cancelled(Exception):
    """Raised by `moved` to end a prediction."""


@dataclasses.dataclass(frozen=True)
class Finder:
    """A model, with what is known of how it decides.

    Attributes:
        name: what it is called.
        model: the `keras.Model`, its batch norms folded.
        point: the `OperatingPoint`.
        axes, channels: 2 of images, 3 of volumes; and the channels that it takes.
        names: of its classes by id, or None.
        expected: (low, high) of its images' values, or None.
    """

    name: str
    model: Any
    point: Any
    axes: int
    channels: int
    names: dict[int, str] | None
    expected: tuple[float, float] | None

    def find(
        self,
        layer: LayerData,
        axes: str = AUTO,
        threshold: float | None = None,
        separate: bool | None = None,
        moved: Callable[[int, int], object] | None = None,
    ) -> LayerData:
        """Finds the objects in a layer, as `predict` finds them in a file.

        A plane of a stack, or a whole image or volume, is predicted in one pass, or window by
        window if it is of more than 2 million pixels. Planes are images of their own; their objects
        are numbered on from plane to plane.

        Args:
            layer: an image: its data of NumPy, Dask or Zarr (the finest of several levels),
                (..., H, W) or, where its attribute `rgb` is True, (..., H, W, 3 or 4); of a model
                for volumes (..., D, H, W).
            axes: what the axes beside height and width (and depth) are: `"stack"`, each plane is an
                image; `"channels first"`, the one before them are the channels; `"channels last"`,
                the one after them are; `"automatic"` decides if a single reading fits the model.
            threshold, separate: as in `predict`.
            moved: function of the number of steps that are done and of all steps; what it raises
                ends the prediction.

        Returns:
            Labels as a layer: the number of the object at each pixel, of the image's shape without
            its channels, where the image is; its `features` have one line per object, with the
            columns of `objects.csv` and the number as `index` (and the place in the stack).

        Raises:
            ValueError: if the layer is no image, its axes, channels or values do not fit the model,
                or a number is out of range.
        """
        from keras_deepskip.inference.sources import open_source

        data, attributes = _image_of(layer)
        name = f"layer {attributes.get('name', 'image')!r}"
        point = self.point.replaced(threshold, None, separate)
        form = _form_of(data.shape, bool(attributes.get("rgb")), self, axes, name)
        planes = form.planes(data)
        labels = np.zeros(form.shape, "int32")
        columns: dict[str, list] = {}
        count, steps = 0, _Steps(moved, len(planes))
        for place, image in planes.items():
            seen = _Seen(image, name, self.expected)
            source = open_source(seen, self.channels, self.axes, name=name)
            outputs = self._outputs(source, steps)
            mask = point.masks(outputs[None])[0]
            own, found = self._labels(point, mask, source)
            labels[place] = np.where(own, own + count, 0)
            _add_rows(columns, mask, outputs, own, count, place, self.names)
            count += found
        told = {"model": self.name, **point.to_dict(), "objects": count}
        return labels, {
            "name": f"{attributes.get('name', 'image')} objects",
            "features": columns,
            "metadata": {"keras_deepskip": told},
            **form.placed(attributes),
        }, "labels"  # fmt: skip

    def _outputs(self, source, steps):
        """What the model says of one image or volume: (..., K), as `predict` has it."""
        from keras_deepskip._checks import check_probabilities
        from keras_deepskip.inference.tiled import ONE_PASS, plan_tiles, predict_tiled
        from keras_deepskip.inference.windows import predictor, why_inexact

        sizes = source.sizes
        if math.prod(sizes) > ONE_PASS and not why_inexact(self.model, sizes):
            watched = steps.over(source, plan_tiles(self.model, sizes).windows)
            outputs = predict_tiled(self.model, watched)
        else:
            outputs = predictor(self.model)(_pixels(source)[None].astype("float32"))[0]
        steps.end_plane()
        check_probabilities(outputs)
        return outputs

    def _labels(self, point, mask, source):
        """Which object each pixel is of, as `predict` has it: `(labels, count)`."""
        from keras_deepskip.inference.image_work import LARGE
        from keras_deepskip.inference.outputs import ObjectsOf

        if self.axes > 2 or math.prod(source.sizes) > LARGE:  # its mask alone is looked at
            return point.labels(mask)
        return ObjectsOf(self.model, point).labels(mask, _pixels(source))


def load_finder(path: str | os.PathLike) -> Finder:
    """Loads a model to find objects with.

    Args:
        path: a `.keras` file, or the folder of a run.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if it is no model of images or volumes to one class a pixel.

    Example:

    ```python
    finder = load_finder("runs/first")
    ```
    """
    from keras_deepskip.folding import fold_batch_norm
    from keras_deepskip.inference.outputs import check_maps, decision_of, refuse_multilabel
    from keras_deepskip.models import class_names_of, input_range_of, load_model
    from keras_deepskip.training import Run

    path, run = Path(path), None
    if path.is_dir():
        run = Run.load(path)
        model = run.model
    else:
        model = load_model(path)
    axes, channels, _ = check_maps(model)
    refuse_multilabel(model)
    return Finder(
        path.name if run or path.name != "model.keras" else path.absolute().parent.name,
        fold_batch_norm(model), decision_of(model, run), axes, channels, class_names_of(model),
        run.input_range if run else input_range_of(model),
    )  # fmt: skip


# ---- What the axes of a layer are ----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Form:
    """How the axes of a layer are read.

    Attributes:
        sizes: of all its axes.
        axes: spatial axes of the model.
        channel: the place of the channels among its axes, or None.
        rgb: whether they are colours, of which a fourth is alpha.
    """

    sizes: tuple[int, ...]
    axes: int
    channel: int | None
    rgb: bool

    @property
    def kept(self):
        """The places of all axes but the channels."""
        return [place for place in range(len(self.sizes)) if place != self.channel]

    @property
    def shape(self):
        """The sizes of these."""
        return tuple(self.sizes[place] for place in self.kept)

    def planes(self, data: Any) -> dict[tuple[int, ...], Any]:
        """Each image or volume (..., C) by its place in the stack, not yet read."""
        channel = None if self.channel is None else self.channel - len(self.sizes)
        colors = slice(0, 3) if self.rgb else slice(None)
        return {
            place: _Plane(data, place, channel, colors, self.axes)
            for place in np.ndindex(self.shape[: -self.axes])
        }

    def placed(self, attributes):
        """The attributes that say where the layer lies, for all axes but the channels."""
        # napari counts the channels of RGB among no axes
        own = range(len(self.kept)) if self.rgb else self.kept
        found = {
            name: [attributes[name][place] for place in own]
            for name in PLACED
            if attributes.get(name) is not None
        }
        if self.rgb or self.channel is None:
            found |= {name: attributes[name] for name in TURNED if attributes.get(name) is not None}
        return found


class _Plane:
    """An image or a volume in a layer, (..., C), read when it is sliced."""

    def __init__(self, data, place, channel, colors, axes):
        self._data, self._place, self._channel, self._colors = data, place, channel, colors
        sizes = list(data.shape)
        channels = [] if channel is None else [len(range(sizes.pop(channel))[colors])]
        self.shape = (*sizes[len(sizes) - axes :], *channels)

    def __getitem__(self, box):
        if self._channel is None:
            return np.asarray(self._data[(*self._place, *box)])
        whole = [*self._place, *box]
        at = len(whole) + 1 + self._channel  # counted from the front
        pixels = np.asarray(self._data[(*whole[:at], self._colors, *whole[at:])])
        return np.moveaxis(pixels, self._channel, -1)


def _form_of(sizes, rgb, finder, axes, name):
    """A `_Form`, or an error that says what would fit."""
    from keras_deepskip._checks import check_choice

    check_choice("axes", axes, AXES)
    count = finder.axes
    beside = len(sizes) - count - rgb  # axes that are neither spatial nor colours
    if beside < 0:
        raise ValueError(
            f"{name}: an image {'(H, W)' if count == 2 else '(D, H, W)'} was expected"
            f"{_by(finder)}. Received: shape {sizes}{', RGB' * rgb}"
        )
    places = {STACK: None, FIRST: len(sizes) - count - 1, LAST: len(sizes) - 1}
    if rgb:
        if axes in (FIRST, LAST):
            raise ValueError(
                f"{name}: the channels of an RGB layer are its colours. Received: axes={axes!r}. "
                f"Choose {AUTO!r}"
            )
        return _Form(sizes, count, places[LAST], True)
    if axes == AUTO:
        axes = STACK if beside == 0 else _only_way(sizes, finder, name)
    if axes != STACK and beside == 0:
        raise ValueError(
            f"{name}: an image with an axis of channels was expected by axes={axes!r}. Received: "
            f"shape {sizes}. Choose {AUTO!r}"
        )
    return _Form(sizes, count, places[axes], False)


def _only_way(sizes, finder, name):
    """What the axes are, where a single reading fits the model."""
    wanted = finder.channels
    fitting = {
        STACK: wanted in (1, 3),  # grey ones fit both
        FIRST: sizes[-finder.axes - 1] == wanted > 1,
        LAST: sizes[-1] == wanted > 1,
    }
    ways = [way for way, fits in fitting.items() if fits]
    if not ways:
        raise ValueError(
            f"{name}: {wanted} channels, first or last, were expected{_by(finder)}. Received: "
            f"shape {sizes}"
        )
    if len(ways) > 1:
        raise ValueError(
            f"{name}: its shape {sizes} can be read in {len(ways)} ways{_by(finder)}. Choose one "
            f"as `axes`: {', '.join(map(repr, ways))}"
        )
    return ways[0]


def _by(finder):
    kind = "images" if finder.axes == 2 else "volumes"
    return f" by the model, which is for {kind} of {finder.channels} channels"


def _image_of(layer):
    """The data and the attributes of a layer, of several levels the finest."""
    data, *rest = layer
    attributes = rest[0] if rest else {}
    kind = rest[1] if len(rest) > 1 else "image"
    if kind != "image":
        raise ValueError(f"an image layer was expected. Received: a layer of {kind}")
    if attributes.get("multiscale"):
        data = data[0]
    return (data if hasattr(data, "shape") else np.asarray(data)), attributes


# ---- The pixels of a layer, and the steps --------------------------------------------------------


def _pixels(source):
    """All of a source: (..., C)."""
    return source.read((slice(None),) * len(source.sizes))


class _Seen:
    """An image whose values are checked as they are read."""

    def __init__(self, image, name, expected):
        self._image, self._name, self._expected = image, name, expected
        self.shape = image.shape

    def __getitem__(self, box):
        from keras_deepskip.inference.ranges import check_values

        pixels = self._image[box]
        if pixels.dtype.kind not in "uif":
            raise ValueError(
                f"{self._name}: an array of numbers was expected. Received: {pixels.dtype}"
            )
        whole = pixels.shape[: len(box)] == self.shape[: len(box)]
        check_values(pixels, self._expected, self._name, whole)
        return pixels


class _Steps:
    """Tells how far a prediction is: in windows of the plane, and planes."""

    def __init__(self, moved, planes):
        self._moved, self._planes, self._done = moved or (lambda done, steps: None), planes, 0
        self._moved(0, planes)

    def over(self, source, windows):
        """A source whose reads are told, of a plane that is read in windows."""
        return _Told(source, lambda read: self._moved(
            self._done * windows + min(read, windows), self._planes * windows
        ))  # fmt: skip

    def end_plane(self):
        self._done += 1
        self._moved(self._done, self._planes)


class _Told:
    """An array of a `Source` that says before each read how many windows were read."""

    def __init__(self, source, told):
        self.shape, self._read, self._told, self._count = source.shape, source.read, told, -1

    def __getitem__(self, box):
        self._told(max(self._count, 0))  # the first read only looks at a pixel
        self._count += 1
        return self._read(box)


def _add_rows(columns, mask, outputs, labels, before, place, names):
    """Adds the lines of one image's or volume's objects to the columns of all."""
    from keras_deepskip.inference.tables import object_values
    from keras_deepskip.objects import object_table

    rows = object_table(mask, outputs, multilabel=False, labels=labels)
    own, values = object_values(rows)
    for number, row in enumerate(values, start=before + 1):
        line = {"index": number, **{f"axis_{axis}": at for axis, at in enumerate(place)}}
        line["class"] = row[0]
        if names:
            line["class_name"] = names.get(row[0], "")
        line |= dict(zip(own[1:], row[1:], strict=True))
        for column, value in line.items():
            columns.setdefault(column, []).append(value)
    if not columns:
        columns.update({column: [] for column in ("index", *own)})
