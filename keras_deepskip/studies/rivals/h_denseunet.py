"""H-DenseUNet: a dense 2-D network on slices, a dense 3-D network on the stack, and their fusion.

Levels are named as elsewhere here, level u having the stride 2^(u-1): e2 is the first convolution,
e3 to e6 are dense blocks 1 to 4, d5 to d1 are upsampling layers 1 to 5.
"""

import dataclasses

import keras
from keras import layers

from keras_deepskip import _checks
from keras_deepskip.architectures.frame import Frame, score_conv
from keras_deepskip.encoders.pretrained import normalization_of, read_network
from keras_deepskip.layers import CropToMatch, PadToMultiple
from keras_deepskip.layers.conv_block import (
    batch_norm,
    conv_bn_relu,
    conv_initializer,
    plain_conv,
    spatial_rank,
)
from keras_deepskip.studies.rivals.layers import NeighbouringSlices, StackSlices
from keras_deepskip.studies.rivals.layers.centred_conv import CENTRED_CONVS

STRIDE, DEPTH_STRIDE = 32, 4
BOTTLENECK = 4  # channels of a 1x1 convolution for each of the 3x3 one after it
ENCODER_EPSILON = 1.1e-5  # the authors' in the encoders; in the decoders they have Keras's 1e-3
GROWTH_3D, BLOCKS_3D = 32, (3, 4, 12, 8)

# By spatial axes: padding, max-pooling, average pooling, upsampling.
KINDS = {
    2: (layers.ZeroPadding2D, layers.MaxPooling2D, layers.AveragePooling2D, layers.UpSampling2D),
    3: (layers.ZeroPadding3D, layers.MaxPooling3D, layers.AveragePooling3D, layers.UpSampling3D),
}


def h_denseunet(
    frame=Frame(),
    growth=48,
    blocks=(6, 12, 36, 24),
    first_filters=96,
    features=64,
    dropout=0.3,
    growth_3d=None,
    blocks_3d=None,
    weights_2d=None,
    trainable_2d=True,
    name=None,
):
    """Returns the H-DenseUNet of Li et al. as a functional `keras.Model`.

    On images (H, W, C) it is the 2-D DenseUNet-167: DenseNet-161 as encoder, and five upsampling
    layers that add the encoder's maps to theirs. On volumes (D, H, W, C) it is the hybrid: each
    slice, with its two neighbours as channels, goes through the 2-D network; the 3-D DenseUNet-65
    takes the volume with the 2-D scores as further channels; the features of both are summed, and
    one more convolution and the scores follow (hybrid feature fusion).

    Weights start at random: Keras has no DenseNet-161, so there are none of ImageNet. The paper
    trains the 2-D network first, then the 3-D one, then all together. So does this:

    ```python
    flat = build_model((None, None, 3), architecture="h_denseunet")  # a slice and its neighbours
    ...  # compile, fit
    flat.save("flat.keras")
    hybrid = build_model(
        (None, None, None, 1), architecture="h_denseunet", weights_2d="flat.keras",
        trainable_2d=False,
    )
    ...  # compile, fit: the 3-D part and the fusion alone
    hybrid.get_layer("dense2d").trainable = True
    ...  # compile, fit: all
    ```

    Args:
        frame: the images and the classes, a `Frame`; `keras_deepskip.build_model` makes one.
        growth: channels that each layer of a dense block adds, 48 in the 2-D network.
        blocks: layers of the four dense blocks of the 2-D network. A layer is a 1x1 convolution to
            4 `growth` channels and a 3x3 one.
        first_filters: of the 7x7 convolution that both networks begin with.
        features: channels at full resolution, of both networks and of the fusion.
        dropout: share of values dropped in training after the last 3x3 convolution of the 2-D
            network, and after that of the fusion.
        growth_3d: as `growth`, of the 3-D network; None is 32. For volumes only, as those below.
        blocks_3d: as `blocks`, of the 3-D network; None is (3, 4, 12, 8).
        weights_2d: a `.keras` file of a network of this function on images of 3 C channels (those
            of the slice before, of the slice itself, and of the slice after), of the same options
            and classes; its normalization comes along. None: random initialization.
        trainable_2d: whether the 2-D part (the layer `"dense2d"`) learns.
        name: name of the model.

    Returns:
        A `keras.Model` from (N, H, W, C) to (N, H, W, num_classes). For volumes: (N, D, H, W, ...).

    Raises:
        ValueError: if an argument is out of range, is for volumes and given for images, or if
            `weights_2d` is of another network.
        FileNotFoundError: if there is no file of `weights_2d`.

    Example:

    >>> flat = h_denseunet(growth=4, blocks=(1, 1, 1, 1), first_filters=8, features=8)
    >>> flat.output_shape
    (None, None, None, 1)

    Source: X. Li, H. Chen, X. Qi, Q. Dou, C.-W. Fu, P.-A. Heng, H-DenseUNet: Hybrid Densely
    Connected UNet for Liver and Tumor Segmentation from CT Volumes, IEEE TMI 37(12), 2018, table I
    and figure 2; what it leaves open is as in the authors' code (docs/architectures.md).
    """
    _check_dense(growth, blocks, "")
    _checks.check_integer("first_filters", first_filters)
    _checks.check_integer("features", features)
    _checks.check_number("dropout", dropout, 0, 1, open_high=True)
    of_2d = (growth, blocks, first_filters, features, dropout)
    if frame.volumes:
        growth_3d = GROWTH_3D if growth_3d is None else growth_3d
        blocks_3d = BLOCKS_3D if blocks_3d is None else blocks_3d
        _check_dense(growth_3d, blocks_3d, "_3d")
        of_3d = (growth_3d, blocks_3d, first_filters, features)
        return _hybrid(frame, of_2d, of_3d, weights_2d, trainable_2d, name)
    _check_no_volumes(growth_3d, blocks_3d, weights_2d, trainable_2d)
    inputs, x = frame.open(STRIDE)
    x = _dense_unet_2d(x, *of_2d)
    return frame.close(inputs, [x], name or "h_denseunet_2d")


def _check_dense(growth, blocks, suffix):
    _checks.check_integer(f"growth{suffix}", growth)
    if len(blocks) != 4:
        raise ValueError(
            f"`blocks{suffix}` must have the layers of four dense blocks. "
            f"Received: blocks{suffix}={tuple(blocks)}"
        )
    for count in blocks:
        _checks.check_integer(f"blocks{suffix}", count)


def _check_no_volumes(growth_3d, blocks_3d, weights_2d, trainable_2d):
    """Nothing that is accepted and then ignored."""
    given = {"growth_3d": growth_3d, "blocks_3d": blocks_3d, "weights_2d": weights_2d}
    given = {option: value for option, value in given.items() if value is not None}
    if not trainable_2d:
        given["trainable_2d"] = trainable_2d
    for option, value in given.items():
        raise ValueError(
            f"`{option}` is for volumes. Received: {option}={value!r} for images. Leave it out, or "
            "give an input_shape (depth, height, width, channels)"
        )


# --- The hybrid -----------------------------------------------------------------------------------


def _hybrid(frame, of_2d, of_3d, weights_2d, trainable_2d, name):
    *_, features, dropout = of_2d
    network = None if weights_2d is None else read_network(weights_2d)
    preprocessing = None if network is None else _normalization_of_slices(network, weights_2d)
    # not to a multiple in depth yet: slices of zeros are none that the 2-D part should learn from
    inputs, x = frame.open((1, STRIDE, STRIDE), preprocessing)
    slices = NeighbouringSlices(name="slices")(x)  # (N D, H', W', 3 C)
    dense2d = _dense2d(frame, slices.shape[-1], of_2d)
    if network is not None:
        _take_weights(dense2d, network, weights_2d)
    dense2d.trainable = bool(trainable_2d)
    flat_features, scores = dense2d(slices)
    features_2d = StackSlices(name="stack_features")([flat_features, x])  # (N, D, H', W', features)
    scores = StackSlices(name="stack_scores")([scores, x])  # (N, D, H', W', num_classes)
    context = layers.Concatenate(name="context")([x, scores])
    context = PadToMultiple((DEPTH_STRIDE, 1, 1), name="pad_depth")(context)
    features_3d = _dense3d(context.shape[-1], of_3d)(context)
    features_3d = CropToMatch(name="crop_depth")([features_3d, features_2d])
    x = layers.Add(name="fusion_add")([features_2d, features_3d])
    x = _dropped_conv(x, features, dropout, "fusion")
    return frame.close(inputs, [x], name or "h_denseunet")


def _dense2d(frame, channels, options):
    """The 2-D network as a layer: from normalized slices to features and scores.

    Its layers have the names and weights of those of the network on images.
    """
    inputs = keras.Input((None, None, channels))
    features = _dense_unet_2d(inputs, *options)
    scores = frame.activate(score_conv(features, frame.num_classes, "head_conv"))
    return keras.Model(inputs, [features, scores], name="dense2d")


def _dense3d(channels, options):
    """The 3-D network as a layer: from the volume with its 2-D scores to features."""
    inputs = keras.Input((None, None, None, channels))
    return keras.Model(inputs, _dense_unet_3d(inputs, *options), name="dense3d")


def _normalization_of_slices(network, path):
    """What a 2-D network does to the C channels of each of its 3 slices, as a `Preprocessing`."""
    own = normalization_of(network)
    channels = len(own.mean) // 3
    mean, deviation = own.mean[:channels], own.deviation[:channels]
    if (own.mean, own.deviation) != (3 * mean, 3 * deviation):
        raise ValueError(
            f"{path}: a network that normalizes a slice and its two neighbours alike is expected. "
            f"Received: mean {own.mean}, deviation {own.deviation}. Train it with one `mean` and "
            "one `variance` for the three"
        )
    return dataclasses.replace(own, mean=mean, deviation=deviation)


def _take_weights(dense2d, network, path):
    """Copies the weights of the 2-D network, layer by layer, by name."""
    known = {layer.name: layer for layer in network.layers}
    for layer in dense2d.layers:
        if not layer.weights:
            continue
        given = known[layer.name].get_weights() if layer.name in known else []
        if [w.shape for w in given] != [tuple(w.shape) for w in layer.weights]:
            raise ValueError(
                f"{path}: weights of an h_denseunet on images of "
                f"{dense2d.input_shape[-1]} channels, with the same options and classes, are "
                f"expected. Received: {network.name!r}, whose layer {layer.name!r} is missing or "
                "of another shape"
            )
        layer.set_weights(given)


# --- Its two networks -----------------------------------------------------------------------------


def _dense_unet_2d(x, growth, blocks, first_filters, features, dropout):
    """Features (N, H, W, features) of images whose sizes are multiples of 32."""
    *skips, x = _encode(x, growth, blocks, first_filters)
    skips[3] = _as_wide(skips[3], x.shape[-1])
    for u in (5, 4, 3, 2):
        x = _upsampled(x, 2, u)
        x = layers.Add(name=f"d{u}_add")([skips[u - 2], x])
        # as wide as the map that is added next, so that sums need no more
        filters = skips[max(u - 3, 0)].shape[-1]
        x = conv_bn_relu(x, filters, 3, f"d{u}")  # (N, H/2^(u-1), W/2^(u-1), filters)
    return _dropped_conv(_upsampled(x, 2, 1), features, dropout, "d1")


def _dense_unet_3d(x, growth, blocks, first_filters, features):
    """Features (N, D, H, W, features) of volumes whose sizes are multiples of 4, 32 and 32.

    The widths of table I (504, 224, 192, 96) are here those of the maps at the same level: so the
    sum comes after the convolution. With a classifier of its own, of which the hybrid makes no
    use, these are the 65 convolutions of the network's name.
    """
    *skips, x = _encode(x, growth, blocks, first_filters)
    skips[3] = _as_wide(skips[3], x.shape[-1])
    for u in (5, 4, 3, 2):
        x = _upsampled(x, (2 if u == 2 else 1, 2, 2), u)
        x = conv_bn_relu(x, skips[u - 2].shape[-1], 3, f"d{u}")
        x = layers.Add(name=f"d{u}_add")([skips[u - 2], x])
    return conv_bn_relu(_upsampled(x, 2, 1), features, 3, "d1")


def _encode(x, growth, blocks, first_filters):
    """The maps of a DenseNet without its classifier, at strides 2, 4, 8, 16 and 32.

    Convolution and pooling are padded alike at both ends, as there.
    """
    rank = spatial_rank(x.shape)
    pad, max_pool, *_ = KINDS[rank]
    x = CENTRED_CONVS[rank](
        first_filters, 7, 2, use_bias=False, kernel_initializer=conv_initializer(), name="e2_conv"
    )(x)
    x = _bn_relu(x, "e2")
    maps = [x]
    x = max_pool(3, 2, name="e3_pool")(pad(1, name="e3_pad")(x))
    for u, count in enumerate(blocks, start=3):
        if u > 3:
            x = _transition(x, f"e{u}")
        x = _dense_block(x, count, growth, f"e{u}")
        maps.append(x)
    maps[-1] = _bn_relu(x, "e6")
    return maps


def _dense_block(x, count, growth, name):
    for index in range(1, count + 1):
        y = _bn_relu_conv(x, BOTTLENECK * growth, 1, f"{name}_{index}", "1")
        y = _bn_relu_conv(y, growth, 3, f"{name}_{index}", "2")
        x = layers.Concatenate(name=f"{name}_{index}_concat")([x, y])
    return x


def _transition(x, name):
    """Half of the channels, at half of the height and width; volumes keep their depth."""
    rank = spatial_rank(x.shape)
    average_pool = KINDS[rank][2]
    x = _bn_relu_conv(x, x.shape[-1] // 2, 1, f"{name}_transition", "")
    return average_pool((1, 2, 2)[-rank:], name=f"{name}_pool")(x)


def _as_wide(x, filters):
    """Dense block 3 with the channels of dense block 4, by the one convolution of its kind."""
    rank = spatial_rank(x.shape)
    return plain_conv(
        filters, 1, rectified=False, use_bias=True, rank=rank, name="d5_skip_conv"
    )(x)  # fmt: skip


def _upsampled(x, factor, u):
    return KINDS[spatial_rank(x.shape)][3](factor, name=f"d{u}_up")(x)


def _dropped_conv(x, filters, dropout, name):
    """Convolution, dropout, batch norm and ReLU."""
    rank = spatial_rank(x.shape)
    x = plain_conv(filters, 3, rank=rank, name=f"{name}_conv")(x)
    x = layers.Dropout(dropout, name=f"{name}_drop")(x) if dropout else x
    return layers.ReLU(name=f"{name}_relu")(batch_norm(name=f"{name}_bn")(x))


def _bn_relu_conv(x, filters, kernel_size, name, suffix):
    rank = spatial_rank(x.shape)
    x = _bn_relu(x, name, suffix)
    return plain_conv(filters, kernel_size, rank=rank, name=f"{name}_conv{suffix}")(x)


def _bn_relu(x, name, suffix=""):
    x = batch_norm(epsilon=ENCODER_EPSILON, name=f"{name}_bn{suffix}")(x)
    return layers.ReLU(name=f"{name}_relu{suffix}")(x)
