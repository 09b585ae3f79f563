"""Checks of the annotations' shapes before any is drawn: objects that would be missing are told."""

import dataclasses

import numpy as np

from keras_deepskip._checks import require
from keras_deepskip.data._limits import max_pixels
from keras_deepskip.data.coco.notes import Note, counted, listed
from keras_deepskip.data.coco.outlines import BATCH, LEAST, Outlines, outlines_of

TOGETHER = 2**12  # annotations whose outlines are measured together
SMALL = 4  # pixels; an outline of a smaller area may cover none
NARROW = 1.5  # pixels; so may a narrower one
WRONG = (TypeError, ValueError, OverflowError)  # reading the mask raises these with all names


def check_shapes(images, regions, source, notes):
    """Refuses annotations without a mask, and notes those whose outlines cover no pixel.

    Args:
        images: list of the images' dicts.
        regions: dict from image id to a list of `(class id, annotation)`.
        source: the file, for errors.
        notes: list of `Note`, which grows.

    Raises:
        ValueError: if an annotation has no `segmentation`, such as a box alone, or if all
            coordinates are shares of the image's size.
    """
    placed = [(image, a) for image in images for _, a in regions[image["id"]]]
    _refuse_maskless([annotation for _, annotation in placed], source)
    placed = [(image, a) for image, a in placed if isinstance(a["segmentation"], list)]
    looks = [
        _Look.of(placed[start : start + TOGETHER]) for start in range(0, len(placed), TOGETHER)
    ]
    _refuse_shares(looks, images, source)
    bare = [name for look in looks for name in look.bare]
    if bare:
        gone = sum(look.gone for look in looks)
        message = (
            f"{counted(len(bare), 'outline')} of fewer than three points, without area, or between "
            f"or beside the image's pixels (annotation {listed(bare)}): skipped, as they cover no "
            f"pixel, and {counted(gone, 'object')} with them"
        )
        notes.append(Note("warning", message, "Draw them again, or take them out"))


def _refuse_maskless(annotations, source):
    maskless = [a for a in annotations if not _may_be_mask(a.get("segmentation"))]
    if not maskless:
        return
    first, boxes = maskless[0], sum(bool(a.get("bbox")) for a in maskless)
    raise ValueError(
        f"{source}: a polygon or RLE as `segmentation` of annotation {first['id']} was expected. "
        f"Received: {str(first.get('segmentation'))[:40]!r}; {len(maskless):,} of "
        f"{len(annotations):,} annotations have no mask, {boxes:,} of them a box (bbox) alone: "
        f"{listed(a['id'] for a in maskless)}. Export polygons or masks from the annotation tool: "
        "a box says no object's pixels. Or take these annotations out"
    )


def _may_be_mask(segmentation):
    return bool(segmentation) and isinstance(segmentation, list | dict)


def _refuse_shares(looks, images, source):
    """Coordinates from 0 to 1 are not in pixels."""
    outlines = sum(look.outlines for look in looks)
    shares = all(look.shares for look in looks) and max(i["width"] for i in images) > 1
    if outlines and shares:
        raise ValueError(
            f"{source}: coordinates in pixels were expected. Received: fractions from 0 to 1 alone "
            f"in {counted(outlines, 'outline')}. Multiply them by the images' widths and heights"
        )


@dataclasses.dataclass(frozen=True)
class _Look:
    """What the outlines of some annotations show.

    Attributes:
        outlines: their number, of those of three points at least.
        shares: whether their coordinates are fractions from 0 to 1 alone.
        bare: names of annotations, one for each outline that covers no pixel.
        gone: the number of annotations that cover no pixel.
    """

    outlines: int
    shares: bool
    bare: list
    gone: int

    @classmethod
    def of(cls, placed):
        """Looks at a list of `(image, annotation)`."""
        owners, outlines, bare, covers = [], [], [], np.zeros(len(placed), bool)
        for place, (_, annotation) in enumerate(placed):
            try:
                for outline in outlines_of(annotation["segmentation"]):
                    if len(outline) < LEAST:
                        bare.append(place)
                    else:
                        owners.append(place)
                        outlines.append(outline)
            except WRONG:
                covers[place] = True  # or reading it says what it is
        owners, measured = _measured(owners, outlines)
        points = measured.points
        shares = bool(((points >= 0) & (points <= 1)).all() and (points % 1 > 0).any())
        for place, some in zip(
            owners, _cover(measured, [placed[o][0] for o in owners]), strict=True
        ):
            covers[place] |= some
            bare += [] if some else [place]
        names = [placed[place][1]["id"] for place in sorted(bare)]
        return cls(len(owners), shares, names, int((~covers).sum()))


def _measured(owners, outlines):
    """The outlines measured, without those that are none: reading them says so."""
    try:
        return owners, Outlines.of(outlines)
    except WRONG:
        whole = [place for place, outline in enumerate(outlines) if _are_numbers(outline)]
        return [owners[place] for place in whole], Outlines.of([outlines[p] for p in whole])


def _are_numbers(outline):
    try:
        return bool(Outlines.of([outline]))
    except WRONG:
        return False


def _cover(measured, images):
    """Which outlines cover a pixel of their image; only those that may not are rasterized."""
    lines = measured.are_lines()
    (left, top), (right, bottom) = (corner.T for corner in measured.boxes())
    height, width = (np.array([i[key] for i in images], float) for key in ("height", "width"))
    narrow = np.minimum(right - left, bottom - top) < NARROW
    outside = (left >= width) | (top >= height) | (right <= 0) | (bottom <= 0)
    doubtful = narrow | outside | (measured.areas() < SMALL)
    doubtful &= ~lines & (measured.lengths() <= BATCH) & (height * width <= max_pixels())
    covers = ~lines
    for place in np.flatnonzero(doubtful).tolist() if doubtful.any() else ():
        coco = require("pycocotools.mask", "pycocotools", "A COCO mask")
        size = images[place]["height"], images[place]["width"]
        covers[place] = coco.area(coco.frPyObjects([measured.flat(place)], *size))[0] > 0
    return covers
