"""Outlines of objects along the edges of their pixels, so that no pixel is lost or gained.

Coordinates are (x, y), in pixels from the upper left corner of the image.
"""

import numpy as np


def polygons_of(labels):
    """The polygon of each object; a multipolygon where its pieces touch by corners, or not at all.

    Args:
        labels: which object each pixel is of, (H, W), 1..n.

    Returns:
        A list of shapely geometries, for objects 1..n in their order.
    """
    import shapely

    top, left, right, number = _row_runs(labels)
    order = np.argsort(number, kind="stable")
    boxes = shapely.box(left, top, right, top + 1)[order]
    ends = np.cumsum(np.bincount(number, minlength=1)[1:])
    unions = [shapely.union_all(own) for own in np.split(boxes, ends[:-1])] if len(ends) else []
    return [shapely.normalize(union.simplify(0)) for union in unions]


def _row_runs(labels):
    """Where each row's runs of one object begin and end: (row, first column, column after, id)."""
    padded = np.pad(labels, ((0, 0), (1, 1)))
    rows, columns = np.nonzero(padded[:, 1:] != padded[:, :-1])
    ids = padded[rows, columns + 1]  # of what begins at each change
    begins = np.flatnonzero(ids)
    return rows[begins], columns[begins], columns[begins + 1], ids[begins]


def path_of(polygon):
    """One closed path around a polygon, its pieces and holes.

    For forms that know a single ring: the pieces and holes are joined by lines that are passed
    there and back, so that whoever fills the path has the very pixels.

    Args:
        polygon: a shapely polygon or multipolygon.

    Returns:
        (N, 2) array of x and y; the first point is not repeated at the end.
    """
    from scipy.spatial import KDTree

    pieces = getattr(polygon, "geoms", [polygon])
    rings = [ring for piece in pieces for ring in (piece.exterior, *piece.interiors)]
    path, *others = (np.asarray(ring.coords)[:-1] for ring in rings)
    for ring in others:
        distances, nearest = KDTree(path).query(ring)
        start = int(np.argmin(distances))
        at = int(nearest[start])
        visit = np.concatenate([ring[start:], ring[: start + 1]])
        path = np.concatenate([path[: at + 1], visit, path[at:]])
    return path
