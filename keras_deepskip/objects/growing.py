"""`GrowingComponents`: pixels of the components of a mask in blocks that are not whole yet."""

import numpy as np


class MaskPart:
    """A part of the mask, with its place and the outputs there."""

    def __init__(self, box, mask, probabilities):
        self.box, self.mask, self.probabilities = box, mask, probabilities


class GrowingComponents:
    """The pixels of components that blocks to come may continue.

    Args:
        shape: (H, W) of the whole mask.
    """

    def __init__(self, shape):
        self.shape = shape
        self.parent = {}  # of each number that is kept an earlier number of the same component
        # Of the first number of each component: list of (number, rows, columns, class, outputs)
        self.pixels = {}

    def add(self, block, numbers, pairs, still_open):
        """Yields what is whole now: all that lies inside the block, and each component that ends.

        Args:
            block: a `MaskPart`.
            numbers: the component of each pixel, -1 for none.
            pairs: numbers that are of one component.
            still_open: numbers that a block to come may continue.
        """
        at_edge = self._at_inner_edges(block.box, numbers)
        edge = np.isin(numbers, at_edge)
        inside = np.where(edge, 0, block.mask)
        if inside.any():
            yield MaskPart(block.box, inside, block.probabilities)
        if edge.any():
            self._keep(block, numbers, edge)
        for one, other in pairs.tolist():
            self._join(one, other)
        going_on = {self._root(number) for number in still_open.tolist()}
        for root in [root for root in self.pixels if root not in going_on]:
            yield self._finished(root)

    def _at_inner_edges(self, box, numbers):
        """The components that touch an edge of the block that is not the image's."""
        rows, columns = box
        height, width = self.shape
        lines = [
            (rows.start > 0, numbers[0]), (rows.stop < height, numbers[-1]),
            (columns.start > 0, numbers[:, 0]), (columns.stop < width, numbers[:, -1]),
        ]  # fmt: skip
        found = [np.unique(line) for inner, line in lines if inner]
        found = np.concatenate([np.zeros(0, "int64"), *found])
        return np.unique(found[found >= 0])

    def _keep(self, block, numbers, edge):
        """Keeps the pixels of the components at the block's edges, each by itself."""
        y, x = np.nonzero(edge)
        order = np.argsort(numbers[y, x], kind="stable")
        y, x = y[order], x[order]
        own = numbers[y, x]
        first = np.flatnonzero(np.diff(own, prepend=-1))
        for number, rows, columns in zip(
            own[first].tolist(), np.split(y, first[1:]), np.split(x, first[1:]), strict=True
        ):
            values = None
            if block.probabilities is not None:
                values = np.asarray(block.probabilities)[rows, columns]
            places = rows + block.box[0].start, columns + block.box[1].start
            self.parent[number] = number
            self.pixels[number] = [(number, *places, block.mask[rows[0], columns[0]], values)]

    def _root(self, number):
        while self.parent[number] != number:
            self.parent[number] = self.parent[self.parent[number]]
            number = self.parent[number]
        return number

    def _join(self, one, other):
        one, other = sorted((self._root(one), self._root(other)))
        if one != other:
            self.parent[other] = one
            self.pixels[one] += self.pixels.pop(other)

    def _finished(self, root):
        """A component alone, in its box and one pixel more, from which distances are measured."""
        numbers, rows, columns, classes, values = zip(*self.pixels.pop(root), strict=True)
        for number in numbers:
            del self.parent[number]
        places = np.concatenate(rows), np.concatenate(columns)
        box = tuple(
            slice(max(int(own.min()) - 1, 0), min(int(own.max()) + 2, length))
            for own, length in zip(places, self.shape, strict=True)
        )
        at = tuple(own - side.start for own, side in zip(places, box, strict=True))
        mask = np.zeros([side.stop - side.start for side in box], np.asarray(classes[0]).dtype)
        mask[at] = classes[0]
        probabilities = None
        if values[0] is not None:
            joined = np.concatenate(values)
            probabilities = np.zeros((*mask.shape, *joined.shape[1:]), joined.dtype)
            probabilities[at] = joined
        return MaskPart(box, mask, probabilities)
