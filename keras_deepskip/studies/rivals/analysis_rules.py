"""Rules of `analysis` for the layers that only the rivals have (see `analysis.rules`)."""

import dataclasses
import math

from keras_deepskip.analysis.rules import first_map, is_kernel, merged, multiplied, no_rule, whole
from keras_deepskip.analysis.views import Axis


def centre_convolved(layer, views, _arguments):
    ends = [size // 2 for size in layer.kernel_size]
    out = merged(layer, views).changed(Axis.padded, ends, ends)
    return multiplied(layer, [out.changed(Axis.windowed, layer.kernel_size, layer.strides)])


def upsampled_bilinearly(layer, views, _arguments):
    return views[0].changed(Axis.upsampled, layer.factor, "bilinear")


def cut_into_slices(_layer, views, _arguments):
    """Each slice an image, with the one before it and the one after it as channels."""
    slices, *axes = views[0].axes
    slices = dataclasses.replace(
        slices, before=slices.before + slices.step, after=slices.after + slices.step
    )
    return dataclasses.replace(views[0], axes=tuple(axes), macs=0, slices=slices)


def stacked(layer, views, _arguments):
    """Images that are slices, as a volume again."""
    if views[0].slices is None:
        raise no_rule(layer, "of images that are no slices")
    return dataclasses.replace(views[0], axes=views[0].all_axes, macs=0, slices=None)


def boxes_found(layer, views, _arguments):
    """A list of boxes, of a length that the layer says, chosen among those of the whole image."""
    return dataclasses.replace(whole(layer, views), axes=(), slices=Axis(layer.count))


def aligned(layer, views, _arguments):
    """Each box an image by itself, of so many bins."""
    return dataclasses.replace(views[-1], axes=(Axis(layer.size),) * 2, macs=0)


def pasted(layer, views, _arguments):
    """Two products of matrices for each box: its mask is upsampled down, then across."""
    masks, _, image = views
    (height, width), (side, _) = image.sizes, masks.sizes
    work = masks.slices.size * height * side * (side + width)
    return dataclasses.replace(image, macs=work, whole=masks.whole)


def pooled_in_pyramid(layer, views, _arguments):
    """The 1x1 convolutions of a pyramid's few pixels, and means over the whole map."""
    pixels = sum(bins ** len(views[0].axes) for bins in layer.bins)
    weights = sum(math.prod(weight.shape) for weight in layer.weights if is_kernel(weight))
    view = whole(layer, views)
    return dataclasses.replace(view, macs=pixels * (weights // len(layer.bins)))


UNET3PLUS = {"BilinearUpsampling": upsampled_bilinearly}
PSPNET = {"BilinearUpsampling": upsampled_bilinearly, "PyramidPooling": pooled_in_pyramid}
H_DENSEUNET = {
    "CentredConv": centre_convolved,
    "NeighbouringSlices": cut_into_slices,
    "StackSlices": stacked,
}
MASK_RCNN = {
    **dict.fromkeys(("Proposals", "Detections"), boxes_found),
    "ROIAlign": aligned,
    "PasteMasks": pasted,
    **dict.fromkeys(("MasksOfClass", "OutsideTraining"), first_map),
}
