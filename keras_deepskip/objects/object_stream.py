"""`ObjectStream`: the objects of a mask too large for memory, block by block."""

import numpy as np

from keras_deepskip.objects.block_borders import BlockBorders
from keras_deepskip.objects.growing import GrowingComponents, MaskPart
from keras_deepskip.objects.labels import label_objects
from keras_deepskip.objects.parting import separate_objects
from keras_deepskip.objects.tables import object_sums, table_of_sums
from keras_deepskip.tiling import blocks, exact_spans

SUMMED = ("area", "places", "probability")


class ObjectStream:
    """Lists the objects of a mask that comes in blocks; those that cross borders are whole.

    What `object_table` gives for the whole mask, without holding it: of what has passed, sums for
    each object are kept, and the last line of pixels along either axis. With `separate` also the
    pixels of components that are not whole yet.

    Args:
        shape: (H, W) of the whole mask.
        connectivity: 8 or 4, as in `label_objects`.
        separate: whether objects that touch are told apart by their shape (`separate_objects`).
        min_area: with `separate`, the least area of a part (`separate_objects`).

    Raises:
        ValueError: for `separate` with another connectivity than 8.

    Example:

    >>> stream = ObjectStream((2, 4))
    >>> parts = stream.update((slice(0, 2), slice(0, 2)), np.array([[0, 1], [0, 0]]))
    >>> parts = stream.update((slice(0, 2), slice(2, 4)), np.array([[0, 0], [1, 0]]))
    >>> [(row["area"], row["left"], row["right"]) for row in stream.table()]
    [(2, 1, 3)]
    """

    def __init__(self, shape, connectivity=8, separate=False, min_area=0):
        if separate and connectivity != 8:
            raise ValueError(
                "objects that touch are told apart in components of 8 neighbours. Received: "
                f"separate=True, connectivity={connectivity}. Leave `connectivity` out"
            )
        self.shape = tuple(shape)
        self.connectivity = connectivity
        self.separate = separate
        self.min_area = min_area
        self.sums = []  # of each part of the mask that is done
        self.same = []  # pairs (M, 2) of numbers of one object
        self._borders = BlockBorders(self.shape, connectivity)
        self._growing = GrowingComponents(self.shape)
        self._components = 0  # that have come, parts of components each for itself
        self._numbers = 0  # that `update` has given
        self._whole = None  # what `_merged` gives, until more comes

    def update(self, box, mask, probabilities=None):
        """Takes a block of the mask. Those above and to the left of it must have come before.

        Args:
            box: (slice of rows, slice of columns).
            mask: class ids (h, w) of these pixels; 0 is background.
            probabilities: the model's outputs (h, w, K) or None, in all blocks alike.

        Returns:
            A list of `(box, numbers)`: preliminary numbers of the objects, int64, 0 where there is
            none of them, of the block or, with `separate`, around components that are whole now;
            these boxes overlap. `numbering` says which line of `table` each number is.

        Raises:
            ValueError: if the mask is no such array.
        """
        self._whole = None
        labels, count = label_objects(mask, self.connectivity)
        mask = np.asarray(mask)
        numbers = np.where(labels > 0, labels.astype("int64") - 1 + self._components, -1)
        self._components += count
        pairs = self._borders.add(box, numbers, mask)
        if not self.separate:
            self.same.append(pairs)
            return [(box, self._noted(box, labels, mask, probabilities))]
        block = MaskPart(box, mask, probabilities)
        regions = self._growing.add(block, numbers, pairs, self._borders.open())
        return [(part.box, self._separated(part)) for part in regions]

    def table(self):
        """Returns the lines of `object_table`, in its order, of what has come.

        With `separate` these are the objects of components that are whole.
        """
        if not self._numbers:
            return []
        merged, _, order = self._merged()
        return table_of_sums({name: values[order] for name, values in merged.items()}, axes=2)

    def numbering(self):
        """Returns for each number that `update` gave the line of `table`, from 1 on; 0 for 0."""
        if not self._numbers:
            return np.zeros(1, "int64")
        _, whole, order = self._merged()
        line = np.empty(len(order), "int64")
        line[order] = np.arange(1, len(order) + 1)
        return np.concatenate([[0], line[whole]])

    def _separated(self, part):
        labels, _ = separate_objects(part.mask, min_area=self.min_area)
        return self._noted(part.box, labels, part.mask, part.probabilities)

    def _noted(self, box, labels, mask, probabilities):
        """Keeps the sums of the objects of a part; returns their numbers."""
        numbers = np.where(labels > 0, labels.astype("int64") + self._numbers, 0)
        count = int(labels.max(initial=0))
        if count:
            rows, columns = box
            sums = object_sums(labels, mask, probabilities, (rows.start, columns.start))
            first = np.full(count, np.iinfo("int64").max)
            y, x = np.nonzero(labels)
            flat = (y + rows.start) * self.shape[1] + x + columns.start
            np.minimum.at(first, labels[y, x] - 1, flat)
            self.sums.append({**sums, "first": first})
            self._numbers += count
        return numbers

    def _merged(self):
        """The sums of whole objects, of each number its object, and the objects' order."""
        if self._whole is not None:
            return self._whole
        sums = {name: np.concatenate([s[name] for s in self.sums]) for name in self.sums[0]}
        whole = self._objects()
        merged = {name: _summed(values, whole) for name, values in sums.items() if name in SUMMED}
        merged |= {name: _extreme(np.minimum, sums[name], whole) for name in ("low", "first")}
        merged |= {"high": _extreme(np.maximum, sums["high"], whole)}
        merged["class_id"] = _extreme(np.minimum, sums["class_id"], whole)
        self._whole = merged, whole, np.lexsort((merged["first"], merged["class_id"]))
        return self._whole

    def _objects(self):
        """Of each number the object that it is of, from 0 on."""
        from scipy.sparse import coo_array, csgraph

        pairs = np.concatenate([np.zeros((0, 2), "int64"), *self.same])
        edges = (np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1]))
        graph = coo_array(edges, shape=(self._numbers, self._numbers))
        return csgraph.connected_components(graph, directed=False)[1]


def label_in_blocks(mask, out=None, probabilities=None, separate=False, block=2048, min_area=0):
    """Numbers the objects of a mask that is too large for memory, and lists them.

    The numbers and lines of `label_objects` (or `separate_objects`) and `object_table` for the
    whole mask, of which a block at a time is read.

    Args:
        mask: class ids (H, W): an array of NumPy, also mapped into memory, Zarr or Dask.
        out: None, or an array (H, W) of integers that can be read and written, such as Zarr's: the
            labels are written to it, from 1 on.
        probabilities: None, or the model's outputs (H, W, K), an array of the same kinds.
        separate: whether objects that touch are told apart by their shape.
        block: side of a block in pixels.
        min_area: with `separate`, the least area of a part, as in `separate_objects`.

    Returns:
        A list of dicts, as in `object_table`.

    Raises:
        ValueError: if the mask has other axes, `out` another shape, or its type is too small for
            the number of objects.

    Example:

    >>> labels = np.zeros((4, 6), "uint16")
    >>> rows = label_in_blocks(np.eye(4, 6, dtype="uint8"), labels, block=2)
    >>> len(rows), labels.max()
    (1, np.uint16(1))
    """
    if len(mask.shape) != 2 or (out is not None and tuple(out.shape) != tuple(mask.shape)):
        raise ValueError(
            "`mask` must be (H, W), and `out` alike. Received: "
            f"mask.shape={tuple(mask.shape)}, out.shape={getattr(out, 'shape', None)}"
        )
    stream = ObjectStream(mask.shape, separate=separate, min_area=min_area)
    spans = [exact_spans(length, block, 1, 0, 0) for length in mask.shape]
    boxes = [box for box, _ in blocks(spans, panel=1)]
    for box in boxes:
        values = None if probabilities is None else np.asarray(probabilities[box])
        parts = stream.update(box, np.asarray(mask[box]), values)
        if out is not None:
            out[box] = 0
            for place, numbers in parts:
                _check_holds(out, int(numbers.max(initial=0)))
                out[place] = np.where(numbers > 0, numbers, out[place]).astype(out.dtype)
    if out is not None:
        final = stream.numbering().astype(out.dtype)
        for box in boxes:
            out[box] = final[np.asarray(out[box])]
    return stream.table()


def _check_holds(out, number):
    if number > np.iinfo(out.dtype).max:
        raise ValueError(
            f"`out` must have a type for the numbers of all objects. Received: {out.dtype}, and "
            f"more than {np.iinfo(out.dtype).max} objects or parts of them. Take uint32"
        )


def _summed(values, whole):
    total = np.zeros((whole.max() + 1, *values.shape[1:]), values.dtype)
    np.add.at(total, whole, values)
    return total


def _extreme(smaller_or_larger, values, whole):
    far = np.iinfo("int64").max if smaller_or_larger is np.minimum else np.iinfo("int64").min
    found = np.full((whole.max() + 1, *values.shape[1:]), far)
    smaller_or_larger.at(found, whole, values)
    return found
