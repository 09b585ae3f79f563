"""`BlockBorders`: which objects of a mask that comes in blocks are one, and which may grow."""

import numpy as np

NEVER = -2  # a line that no block has reached


class BlockBorders:
    """The last line of a mask's pixels along either axis, as far as its blocks have come.

    Args:
        shape: (H, W) of the whole mask.
        connectivity: 8 or 4, as in `label_objects`.
    """

    def __init__(self, shape, connectivity):
        self.shape, self.connectivity = shape, connectivity
        height, width = shape
        # Of each column the lowest pixel that has come, of each row the rightmost: the number of
        # its object (-1: none), its class, and in which row (column) it lies.
        self.lowest = _Line(width)
        self.rightmost = _Line(height)
        # The pixel before a block's first, down and right, which both lines have lost by then.
        self.corners = {}

    def add(self, box, numbers, mask):
        """Takes a block; those above and to the left of it have come before.

        Args:
            box: (slice of rows, slice of columns).
            numbers: the object of each of these pixels, -1 for none.
            mask: their class ids.

        Returns:
            Pairs of numbers (M, 2) that are of one object: of this block, and of an earlier one.
        """
        rows, columns = box
        pairs = [
            *self._touching(self.lowest, rows.start, columns.start, numbers[0], mask[0]),
            *self._touching(self.rightmost, columns.start, rows.start, numbers[:, 0], mask[:, 0]),
        ]
        if self.connectivity == 8:
            corner = self.corners.pop((rows.start - 1, columns.start - 1), None)
            if numbers[0, 0] >= 0 and corner is not None and corner[1] == mask[0, 0]:
                pairs.append(np.array([[numbers[0, 0], corner[0]]]))
            self._keep_corner(self.lowest, columns.stop - 1, by_column=True)
            self._keep_corner(self.rightmost, rows.stop - 1, by_column=False)
        self.lowest.put(rows.stop - 1, columns, numbers[-1], mask[-1])
        self.rightmost.put(columns.stop - 1, rows, numbers[:, -1], mask[:, -1])
        return np.concatenate([np.zeros((0, 2), "int64"), *pairs])

    def open(self):
        """The numbers of objects that a block to come may continue."""
        height, width = self.shape
        below = self.lowest.numbers[self.lowest.places < height - 1]
        right = self.rightmost.numbers[self.rightmost.places < width - 1]
        corners = [number for number, _ in self.corners.values()]
        found = np.concatenate([below, right, np.array(corners, "int64")])
        return np.unique(found[found >= 0])

    def _touching(self, line, place, start, numbers, classes):
        """Yields pairs of an object at the block's edge and one in the line just before it."""
        for shift in (0,) if self.connectivity == 4 else (-1, 0, 1):
            at = np.arange(start, start + len(numbers)) + shift
            inside = (at >= 0) & (at < len(line.places))
            at, own, kinds = at[inside], numbers[inside], classes[inside]
            touching = (line.places[at] == place - 1) & (own >= 0) & (line.numbers[at] >= 0)
            touching &= line.classes[at] == kinds
            if touching.any():
                pairs = np.stack([own[touching], line.numbers[at][touching]], axis=1)
                yield np.unique(pairs, axis=0)

    def _keep_corner(self, line, along, by_column):
        place, number = line.places[along], line.numbers[along]
        row, column = (place, along) if by_column else (along, place)
        if number >= 0 and row < self.shape[0] - 1 and column < self.shape[1] - 1:
            self.corners[row, column] = number, line.classes[along]


class _Line:
    """A line of pixels across the image, each the last that has come of its column or row."""

    def __init__(self, length):
        self.places = np.full(length, NEVER)
        self.numbers = np.full(length, -1)
        self.classes = np.zeros(length, "int64")

    def put(self, place, along, numbers, classes):
        """Has the pixels `along` the line lie at `place`."""
        self.places[along], self.numbers[along], self.classes[along] = place, numbers, classes
