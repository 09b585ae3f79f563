"""The rivals at the deep-skip network's size: their weights counted by hand."""

import pytest

from keras_deepskip import analysis, build_model
from keras_deepskip.studies.light_forms import LIGHT_FORMS

pytestmark = [pytest.mark.studies, pytest.mark.one_backend]

VGG, RESNET34 = (2, 2, 2, 2, 2), (3, 4, 6, 3)


def conv(size, before, after, bias=False):
    return size**2 * before * after + bias * after


def normed(size, before, after):
    """A convolution and its batch norm: factor, offset, mean and variance of each channel."""
    return conv(size, before, after) + 4 * after


def widths(base):
    return [base * 2**level for level in range(5)]


def two(before, after):
    return normed(3, before, after) + normed(3, after, after)


def vgg(base):
    pairs = zip([3, *widths(base)], widths(base), strict=False)
    return sum(two(before, after) for before, after in pairs)


def resnet34(base):
    total, before = normed(3, 3, base), base
    for after, blocks in zip(widths(base)[1:], RESNET34, strict=True):
        total += two(before, after) + normed(1, before, after) + (blocks - 1) * two(after, after)
        before = after
    return total


def unet(base_filters):
    ups = zip(widths(base_filters)[1:], widths(base_filters), strict=False)
    decoder = sum(conv(2, low, own, bias=True) + two(2 * own, own) for low, own in ups)
    return vgg(base_filters) + decoder + conv(1, base_filters, 1, bias=True)


def unet3plus(base_filters, skip_filters):
    encoder, wide = widths(base_filters), 5 * skip_filters
    total = vgg(base_filters) + conv(1, wide, 1, bias=True)
    for level in range(4):
        deeper = [wide] * (3 - level) + [encoder[4]]
        total += sum(normed(3, c, skip_filters) for c in [*encoder[: level + 1], *deeper])
        total += normed(3, wide, wide)
    return total


def fcn8s(fc_filters, base_filters=8):
    *_, third, fourth, fifth = widths(base_filters)
    dense = conv(7, fifth, fc_filters, bias=True) + conv(1, fc_filters, fc_filters, bias=True)
    scores = sum(conv(1, c, 1, bias=True) for c in (fc_filters, fourth, third))
    return vgg(base_filters) + dense + scores + conv(4, 1, 1) * 2 + conv(16, 1, 1)


def pspnet(base_filters, pyramid_filters):
    *_, fourth, fifth = widths(base_filters)
    pyramid = 4 * normed(1, fifth, pyramid_filters)
    fuse = normed(3, fifth + 4 * pyramid_filters, pyramid_filters)
    half = pyramid_filters // 2
    auxiliary = normed(3, fourth, half) + conv(1, half, 1, bias=True)
    return resnet34(base_filters) + pyramid + fuse + conv(1, pyramid_filters, 1, True) + auxiliary


def h_denseunet(growth, blocks, first_filters, features):
    channels = first_filters
    total, skips = normed(7, 3, channels), [first_filters]
    for number, layers in enumerate(blocks):
        if number:
            total += 4 * channels + conv(1, channels, channels // 2)
            channels //= 2
        for _ in range(layers):  # batch norms come before the convolutions
            total += 4 * channels + conv(1, channels, 4 * growth)
            total += 4 * 4 * growth + conv(3, 4 * growth, growth)
            channels += growth
        skips.append(channels)
    total += 4 * channels + conv(1, skips[3], channels, bias=True)
    before = channels
    for after in (skips[2], skips[1], skips[0], skips[0]):
        total += normed(3, before, after)
        before = after
    return total + normed(3, before, features) + conv(1, features, 1, bias=True)


def mask_rcnn(fpn_filters, fc_units, mask_filters, **_):
    maps = widths(8)[2:]  # of the strides 4, 8 and 16
    pyramid = sum(
        conv(1, c, fpn_filters, True) + conv(3, fpn_filters, fpn_filters, True) for c in maps
    )
    proposals = conv(3, fpn_filters, fpn_filters, True) + conv(1, fpn_filters, 3 * 5, True)
    boxes = conv(7, fpn_filters, fc_units, True) + conv(1, fc_units, fc_units, True)
    boxes += conv(1, fc_units, 2, True) + conv(1, fc_units, 4, True)
    masks = conv(3, fpn_filters, mask_filters, True) + 3 * conv(3, mask_filters, mask_filters, True)
    masks += conv(2, mask_filters, mask_filters, True) + conv(1, mask_filters, 1, True)
    return vgg(8) + pyramid + proposals + boxes + masks


BY_HAND = {
    function.__name__: function
    for function in (unet, unet3plus, fcn8s, pspnet, h_denseunet, mask_rcnn)
}


@pytest.mark.parametrize("name", LIGHT_FORMS)
def test_weights_counted_by_hand_and_size(name):
    options = dict(LIGHT_FORMS[name][1])
    model = build_model((256, 256, 3), **options)
    ours = build_model((256, 256, 3))
    weights = model.count_params() / ours.count_params()
    macs = sum(analysis.macs(model).values()) / sum(analysis.macs(ours).values())
    if name.endswith("_same_weights"):
        assert weights == pytest.approx(1, abs=0.05)
    elif name.endswith("_same_macs"):
        assert macs == pytest.approx(1, abs=0.06)
    else:
        assert name.endswith("_same_size")
        assert weights == pytest.approx(1, abs=0.12) and macs == pytest.approx(1, abs=0.12)
    architecture = options.pop("architecture")
    for fixed in ("backbone", "batch_norm"):
        options.pop(fixed, None)
    assert model.count_params() == BY_HAND[architecture](**options)
