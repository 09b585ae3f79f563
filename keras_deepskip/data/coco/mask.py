"""The mask of one image of a COCO file."""

import contextlib
import dataclasses
import itertools
from pathlib import Path

import numpy as np

from keras_deepskip._checks import require
from keras_deepskip.data._limits import check_size, naming_file
from keras_deepskip.data.coco import runs
from keras_deepskip.data.coco.outlines import LEAST, Outlines, check_length, outlines_of

LABEL_BYTES = 4  # of a pixel of a mask


@dataclasses.dataclass(frozen=True)
class CocoMask:
    """The mask of one image of a COCO file, rasterized when it is read. It can be pickled.

    Attributes:
        source: the annotations' file, for errors.
        image_id: the image's id in it.
        height, width: the image's size in pixels.
        regions: the image's annotations as `(class id, annotation)`; class id None marks ignored
            regions (crowds, objects below the least area).
    """

    source: Path
    image_id: int | str
    height: int
    width: int
    regions: tuple = dataclasses.field(default=(), compare=False, repr=False)

    def __str__(self):
        return f"{self.source} (image id {self.image_id})"

    def read(self, ignore_class: int | None = None) -> np.ndarray:
        """Rasterizes the mask; where objects overlap, the smaller one lies on top.

        The pixels of a polygon are those that pycocotools gives it. Outlines of fewer than three
        points or without area are skipped.

        Args:
            ignore_class: None, or the id of ignored regions; with None they are background, which
                `coco_samples` and `audit` warn of.

        Returns:
            `(height, width)` int32 array.

        Raises:
            ValueError: if an annotation is no polygon and no RLE of the image's size, or the image
                is larger than `data.images.max_pixels()`.
            ImportError: if `pycocotools` is missing.
        """
        return self._painted(
            [ignore_class if label is None else label for label, _ in self.regions]
        )

    def read_objects(self) -> np.ndarray:
        """Rasterizes which annotation each pixel is of, where `read` has an object.

        Returns:
            `(height, width)` int32 array of numbers from 1 on, 0 for none and for ignored regions.

        Raises:
            ValueError, ImportError: as `read`.
        """
        return self._painted(
            [0 if label is None else number for number, (label, _) in enumerate(self.regions, 1)]
        )

    def _painted(self, values):
        """A canvas on which each region has its value; those whose value is None are left out."""
        coco = require("pycocotools.mask", "pycocotools", "A COCO mask")
        check_size(self, self.height, self.width, LABEL_BYTES)
        # Runs are kept, not rasterized masks, which would not fit into memory for many objects.
        codes = self._codes(coco, [annotation for _, annotation in self.regions])
        objects = np.array([label is not None for label, _ in self.regions], bool)
        # Ignored regions lie lowest, then the objects from large to small.
        order = np.lexsort((-runs.areas(codes), objects)).tolist()
        order = [place for place in order if values[place] is not None]
        canvas = np.zeros(self.width * self.height, np.int32)
        runs.paint(canvas, [codes[place] for place in order], [values[place] for place in order])
        return np.ascontiguousarray(canvas.reshape(self.width, self.height).T)

    def _codes(self, coco, annotations):
        """The pixels of each annotation as packed RLE, b"" if there are none."""
        codes = [[] for _ in annotations]
        outlines, owners = [], []
        for place, annotation in enumerate(annotations):
            if isinstance(annotation.get("segmentation"), dict):
                codes[place].append(self._code(coco, annotation))
                continue
            own = self._outlines(annotation)
            outlines += own
            owners += [place] * len(own)
        measured = self._measured(outlines, owners, annotations)
        lines = measured.are_lines()
        packed = measured.codes(coco, self.height, self.width)
        for code, owner, line in zip(packed, owners, lines, strict=True):
            if not line:
                codes[owner].append(code)
        return [self._merged(coco, own) for own in codes]

    def _code(self, coco, annotation):
        """The packed RLE of an annotation that is one, checked."""
        segmentation, size = annotation["segmentation"], [self.height, self.width]
        if segmentation.get("size") != size:
            raise ValueError(
                f"{self.source}: an RLE of the image's size {size} as `segmentation` of "
                f"annotation {annotation.get('id')} was expected. "
                f"Received: size {str(segmentation.get('size'))[:40]}"
            )
        with self._naming(annotation):
            return coco.frPyObjects(runs.checked_runs(segmentation), *size)["counts"]

    def _outlines(self, annotation):
        """The outlines of an annotation that have three points at least."""
        with self._naming(annotation):
            segmentation = annotation.get("segmentation")
            if not isinstance(segmentation, list) or not segmentation:
                raise ValueError("neither of them")
            return [outline for outline in outlines_of(segmentation) if len(outline) >= LEAST]

    def _measured(self, outlines, owners, annotations):
        """All outlines of the image, none of them too long or of other things than numbers."""
        try:
            measured = Outlines.of(outlines)
            lengths = np.bincount(owners, measured.lengths(), minlength=len(annotations))
            check_length(lengths.max(initial=0))
            return measured
        except (TypeError, ValueError, OverflowError):
            own = zip(owners, outlines, strict=True)
            for owner, pairs in itertools.groupby(own, key=lambda pair: pair[0]):
                with self._naming(annotations[owner]):  # it is this one, or another
                    check_length(Outlines.of([outline for _, outline in pairs]).lengths().sum())
            raise

    def _merged(self, coco, codes):
        if len(codes) < 2:
            return codes[0] if codes else b""
        size = [self.height, self.width]
        return coco.merge([{"size": size, "counts": code} for code in codes])["counts"]

    @contextlib.contextmanager
    def _naming(self, annotation):
        """Errors name the file, the annotation, and what it holds."""
        try:
            yield
        except Exception:
            expected = f"a polygon or RLE as `segmentation` of annotation {annotation.get('id')}"
            received = str(annotation.get("segmentation"))[:60]
            with naming_file(self.source, expected, received, fix=""):
                raise
