"""Objects of masks: components, objects that touch told apart, their table, matching, tracking.

Masks are NumPy arrays, of images or of volumes, whose voxels are their pixels. A class's objects
are the connected components of its pixels; id 0 is background (in a multilabel mask every channel
is a class, and zeros are background).
"""

from keras_deepskip.objects.labels import (
    CONNECTIVITIES,
    class_boxes,
    label_objects,
    object_anchors,
    objects_by_ids,
    remove_small,
)
from keras_deepskip.objects.matching import (
    CRITERIA,
    check_criterion,
    check_same_shape,
    match_objects,
    overlapping_pairs,
)
from keras_deepskip.objects.object_stream import ObjectStream, label_in_blocks
from keras_deepskip.objects.parting import neighbours, separate_objects
from keras_deepskip.objects.tables import object_sums, object_table, table_of_sums
from keras_deepskip.objects.tracking import ObjectTracker

__all__ = [
    "CONNECTIVITIES",
    "CRITERIA",
    "ObjectStream",
    "ObjectTracker",
    "check_criterion",
    "check_same_shape",
    "class_boxes",
    "label_in_blocks",
    "label_objects",
    "objects_by_ids",
    "match_objects",
    "neighbours",
    "object_anchors",
    "object_sums",
    "object_table",
    "overlapping_pairs",
    "remove_small",
    "separate_objects",
    "table_of_sums",
]
