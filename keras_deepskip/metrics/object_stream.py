"""`ObjectStream`: the objects of a mask too large for memory, block by block."""

import numpy as np

from keras_deepskip.objects import label_objects, object_sums, table_of_sums

NOBODY = -2  # a line that no block has reached


class ObjectStream:
    """Lists the objects of a mask that comes in blocks; those that cross borders are whole.

    What `object_table` gives for the whole mask, without holding it: of what has passed, sums for
    each object are kept, and the last line of pixels along either axis.

    Args:
        shape: (H, W) of the whole mask.
        connectivity: 8 or 4, as in `label_objects`.

    Example:

    >>> stream = ObjectStream((2, 4))
    >>> numbers = stream.update((slice(0, 2), slice(0, 2)), np.array([[0, 1], [0, 0]]))
    >>> numbers = stream.update((slice(0, 2), slice(2, 4)), np.array([[0, 0], [1, 0]]))
    >>> [(row["area"], row["left"], row["right"]) for row in stream.table()]
    [(2, 1, 3)]
    """

    def __init__(self, shape, connectivity=8):
        height, width = shape
        self.connectivity = connectivity
        self.width = width
        self.count = 0
        self.sums = []  # of each block
        self.same = []  # pairs (M, 2) of numbers of one object
        # Of each column the lowest pixel that has come, of each row the rightmost: the number of
        # its object (-1: none), its class, and in which row (column) it lies.
        self.lowest = _Line(width)
        self.rightmost = _Line(height)
        # The pixel before a block's first, down and right, which both lines have lost by then.
        self.corners = {}
        self._whole = None  # what `_merged` gives, until more comes

    def update(self, box, mask, probabilities=None):
        """Takes a block of the mask. Those above and to the left of it must have come before.

        Args:
            box: (slice of rows, slice of columns).
            mask: class ids (h, w) of these pixels; 0 is background.
            probabilities: the model's outputs (h, w, K) or None, in all blocks alike.

        Returns:
            Preliminary numbers (h, w) of the objects, int64, 0 for none; `numbering` says which
            line of `table` each of them is.

        Raises:
            ValueError: if the mask is no such array.
        """
        self._whole = None
        labels, count = label_objects(mask, self.connectivity)
        mask = np.asarray(mask)
        rows, columns = box
        if count:
            corner = (rows.start, columns.start)
            sums = object_sums(labels, mask, probabilities, corner)
            first = np.full(count, np.iinfo("int64").max)
            y, x = np.nonzero(labels)
            flat = (y + rows.start) * self.width + x + columns.start
            np.minimum.at(first, labels[y, x] - 1, flat)
            self.sums.append({**sums, "first": first})
        numbers = np.where(labels > 0, labels.astype("int64") - 1 + self.count, -1)
        self.count += count
        self._join(self.lowest, rows.start, columns.start, numbers[0], mask[0])
        self._join(self.rightmost, columns.start, rows.start, numbers[:, 0], mask[:, 0])
        if self.connectivity == 8:
            corner = self.corners.pop((rows.start - 1, columns.start - 1), None)
            if numbers[0, 0] >= 0 and corner is not None and corner[1] == mask[0, 0]:
                self.same.append(np.array([[numbers[0, 0], corner[0]]]))
            self._keep_corner(self.lowest.at(columns.stop - 1), columns.stop - 1, by_column=True)
            self._keep_corner(self.rightmost.at(rows.stop - 1), rows.stop - 1, by_column=False)
        self.lowest.put(rows.stop - 1, columns, numbers[-1], mask[-1])
        self.rightmost.put(columns.stop - 1, rows, numbers[:, -1], mask[:, -1])
        return numbers + 1

    def table(self):
        """Returns the lines of `object_table`, in its order, of what has come."""
        if not self.count:
            return []
        merged, _, order = self._merged()
        return table_of_sums({name: values[order] for name, values in merged.items()}, axes=2)

    def numbering(self):
        """Returns for each number that `update` gave the line of `table`, from 1 on; 0 for 0."""
        if not self.count:
            return np.zeros(1, "int64")
        _, whole, order = self._merged()
        line = np.empty(len(order), "int64")
        line[order] = np.arange(1, len(order) + 1)
        return np.concatenate([[0], line[whole]])

    def _merged(self):
        """The sums of whole objects, of each number its object, and the objects' order."""
        if self._whole is not None:
            return self._whole
        sums = {name: np.concatenate([s[name] for s in self.sums]) for name in self.sums[0]}
        whole = self._components()
        merged = {name: _summed(values, whole) for name, values in sums.items() if name in SUMMED}
        merged |= {name: _extreme(np.minimum, sums[name], whole) for name in ("low", "first")}
        merged |= {"high": _extreme(np.maximum, sums["high"], whole)}
        merged["class_id"] = _extreme(np.minimum, sums["class_id"], whole)
        self._whole = merged, whole, np.lexsort((merged["first"], merged["class_id"]))
        return self._whole

    def _join(self, line, place, start, numbers, classes):
        """Notes which objects of the block's edge continue in the line of pixels just before it."""
        for shift in (0,) if self.connectivity == 4 else (-1, 0, 1):
            at = np.arange(start, start + len(numbers)) + shift
            inside = (at >= 0) & (at < len(line.places))
            at, own, kinds = at[inside], numbers[inside], classes[inside]
            touching = (line.places[at] == place - 1) & (own >= 0) & (line.numbers[at] >= 0)
            touching &= line.classes[at] == kinds
            if touching.any():
                pairs = np.stack([own[touching], line.numbers[at][touching]], axis=1)
                self.same.append(np.unique(pairs, axis=0))

    def _keep_corner(self, pixel, along, by_column):
        place, number, kind = pixel
        if number >= 0:
            self.corners[(place, along) if by_column else (along, place)] = number, kind

    def _components(self):
        """Of each number the object that it is of, from 0 on."""
        from scipy.sparse import coo_array, csgraph

        pairs = np.concatenate(self.same) if self.same else np.zeros((0, 2), "int64")
        edges = (np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1]))
        graph = coo_array(edges, shape=(self.count, self.count))
        return csgraph.connected_components(graph, directed=False)[1]


SUMMED = ("area", "places", "probability")


class _Line:
    """A line of pixels across the image, each the last that has come of its column or row."""

    def __init__(self, length):
        self.places = np.full(length, NOBODY)
        self.numbers = np.full(length, -1)
        self.classes = np.zeros(length, "int64")

    def at(self, index):
        return self.places[index], self.numbers[index], self.classes[index]

    def put(self, place, along, numbers, classes):
        self.places[along], self.numbers[along], self.classes[along] = place, numbers, classes


def _summed(values, whole):
    total = np.zeros((whole.max() + 1, *values.shape[1:]), values.dtype)
    np.add.at(total, whole, values)
    return total


def _extreme(smaller_or_larger, values, whole):
    far = np.iinfo("int64").max if smaller_or_larger is np.minimum else np.iinfo("int64").min
    found = np.full((whole.max() + 1, *values.shape[1:]), far)
    smaller_or_larger.at(found, whole, values)
    return found
