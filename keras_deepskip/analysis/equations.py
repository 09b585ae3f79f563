"""Equations 2 to 4 of the paper in integers: an independent witness of what the builders build.

Nothing here imports a layer. Counts are of kernels alone, of convolutions and of dense layers over
the channels, without biases and norm parameters, as in the paper.
"""

from keras_deepskip import _checks


def decoder_parameters(u, B=5, b=8, k=3, skips="deep", dims=2):
    """O_u of equation 2: kernel weights of decoder level u.

    Args:
        u: decoder level, 1 (finest) .. B-1.
        B: encoder levels.
        b: base width, the channels of level 1.
        k: kernel size in pixels.
        skips: `"deep"` (equation 1), or `"flat"` (E_u and D_{u+1} alone).
        dims: 2 for images; 3 for volumes, whose kernels have k^3 places.

    Returns:
        An int.

    Example:

    >>> sum(decoder_parameters(u) for u in range(1, 5))
    349632

    Source: equation 2 of H. Sun, Traitement du Signal 40(4), 2023.
    """
    _checks.check_choice("u", u, range(1, B))
    _checks.check_choice("skips", skips, ("deep", "flat"))
    if skips == "deep":
        branches = sum(2 ** (j - u) for j in range(u, B)) + B - u + 4
    else:  # P(E_u), P(I(D_{u+1})), and F over their two maps
        branches = 1 + 2 + 2 + 1
    return branches * 2 ** (2 * u - 2) * b**2 * _places(k, dims)


def vgg_parameters(u, b=8, k=3, b0=3, dims=2):
    """Kernel weights of level u of the VGG16-style encoder: the terms of equation 3.

    Example:

    >>> [vgg_parameters(u) for u in (1, 2, 3)]
    [792, 3456, 13824]
    """
    into, own = _widths(u, b, b0)
    return (into * own + own**2) * _places(k, dims)


def resnet_parameters(u, q, b=8, k=3, b0=3, dims=2):
    """Kernel weights of level u of the ResNet34-style encoder: the terms of equation 4.

    Args:
        u: level; 1 is the stem.
        q: basic blocks of this level (for u = 1 it does not count).
        b, k, b0: base width, kernel size, input channels.
        dims: 2 for images, 3 for volumes; the projection's kernel has one place in both.

    Example:

    >>> resnet_parameters(2, q=3)
    12800
    """
    into, own = _widths(u, b, b0)
    if u == 1:
        return b0 * own * _places(k, dims)
    return into * own + (into * own + (2 * q - 1) * own**2) * _places(k, dims)


def closed_form(
    backbone="light_vgg16",
    levels=5,
    base_filters=8,
    kernel_size=3,
    channels=3,
    num_classes=1,
    skips="deep",
    blocks_per_level=None,
    dims=2,
):
    """Kernel weights of a whole network, part by part: equations 3 and 4.

    Args:
        backbone: `"light_vgg16"` (equation 3) or `"light_resnet34"` (equation 4).
        levels, base_filters, kernel_size: B, b and k.
        channels, num_classes: b0 and bc.
        skips: `"deep"` or `"flat"`.
        blocks_per_level: q_2 .. q_B of `light_resnet34`; None is (3, 4, 6, 3).
        dims: 2 for images, 3 for volumes.

    Returns:
        A dict from part to int: `"e1"` .. `"eB"`, `"d{B-1}"` .. `"d1"`, `"head"`.

    Example:

    >>> sum(closed_form("light_vgg16").values()), sum(closed_form("light_resnet34").values())
    (644192, 1677472)

    Source: equations 3 and 4 of H. Sun, Traitement du Signal 40(4), 2023.
    """
    _checks.check_choice("backbone", backbone, ("light_vgg16", "light_resnet34"))
    b, k = base_filters, kernel_size
    if backbone == "light_vgg16":
        encoder = {f"e{u}": vgg_parameters(u, b, k, channels, dims) for u in range(1, levels + 1)}
    else:
        q = (None, *(blocks_per_level or (3, 4, 6, 3)))
        encoder = {
            f"e{u}": resnet_parameters(u, q[u - 1], b, k, channels, dims)
            for u in range(1, levels + 1)
        }
    decoder = {
        f"d{u}": decoder_parameters(u, levels, b, k, skips, dims) for u in range(levels - 1, 0, -1)
    }
    return {**encoder, **decoder, "head": num_classes * b}  # bc C_1


def _widths(u, b, b0):
    """Channels that enter level u, and its own C_u."""
    own = 2 ** (u - 1) * b
    return (b0 if u == 1 else own // 2), own


def _places(k, dims):
    """Places of a kernel of side k: k^2 of an image's, k^3 of a volume's."""
    return k ** _checks.check_choice("dims", dims, (2, 3))
