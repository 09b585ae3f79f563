"""The H-DenseUNet: counts of its two networks, and the hybrid on volumes."""

import keras
import numpy as np
import pytest

from keras_deepskip import analysis, build_model, fold_batch_norm
from keras_deepskip.export import export
from keras_deepskip.layers import (
    PadToMultiple,
)
from keras_deepskip.losses import SmallObjectLoss
from keras_deepskip.metrics import IoU
from keras_deepskip.studies.rivals.layers import (
    CentredConv2D,
    CentredConv3D,
    NeighbouringSlices,
    StackSlices,
)

pytestmark = pytest.mark.studies

EAGERLY = keras.backend.backend() != "jax"  # what takes least where a step is taken once
needs_eager_steps = pytest.mark.skipif(not EAGERLY, reason="slow to compile under JAX")
TINY = {"growth": 2, "blocks": (1, 2, 1, 1), "first_filters": 4, "features": 4, "dropout": 0.0}
TINY_3D = {**TINY, "growth_3d": 2, "blocks_3d": (1, 1, 1, 2)}


def flat(num_classes=2, channels=3, **options):
    keras.utils.set_random_seed(0)
    return build_model((None, None, channels), num_classes, "h_denseunet", **{**TINY, **options})


def hybrid(num_classes=2, channels=1, **options):
    keras.utils.set_random_seed(1)
    shape = (None, None, None, channels)
    return build_model(shape, num_classes, "h_denseunet", **{**TINY_3D, **options})


def settle(model):
    """Statistics and shifts as after training, none of them at its start."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(0.5 + rng.random(weight.shape))
        elif weight.path.endswith(("beta", "moving_mean", "bias")):
            weight.assign(0.1 * rng.standard_normal(weight.shape))
    return model


def volumes(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype("uint8")


def outputs(model, x):
    """Of a model that is called once: without compiling it, where that is quicker."""
    if not EAGERLY:
        return model.predict(x, verbose=0)
    return keras.ops.convert_to_numpy(model(x, training=False))


# ---- Counts --------------------------------------------------------------------------------------


def dense_encoder(channels, growth, blocks, first, dims):
    """Convolutions, their weights, batch norms' four numbers a channel, and widths, by hand."""
    convs, kernels, normed, width, widths = 1, channels * 7**dims * first, first, first, [first]
    for index, count in enumerate(blocks):
        if index:  # transition
            convs, kernels, normed = convs + 1, kernels + width * (width // 2), normed + width
            width //= 2
        for _ in range(count):
            convs += 2
            kernels += width * 4 * growth + 3**dims * 4 * growth * growth
            normed += width + 4 * growth
            width += growth
        widths.append(width)
    return convs, kernels, normed + width, widths


def dense_decoder(widths, steps, dims):
    """The same of five upsampling layers, (channels in, channels out) each, and of the sum's."""
    kernels = sum(3**dims * a * b for a, b in steps) + widths[3] * widths[4]
    return len(steps) + 1, kernels, sum(b for _, b in steps), widths[4]


def test_the_hand_count_is_that_of_densenet161():
    """26,472,000: torchvision's `densenet161().features`, counted there."""
    convs, kernels, normed, widths = dense_encoder(3, 48, (6, 12, 36, 24), 96, dims=2)
    assert (kernels, kernels + 2 * normed) == (26_252_064, 26_472_000)
    assert (convs, widths) == (160, [96, 384, 768, 2112, 2208])  # the 161st is the classifier


@pytest.fixture(scope="module")
def full():
    keras.utils.set_random_seed(0)
    return build_model((None, None, None, 1), 3, "h_denseunet")


def test_counts_of_the_2d_network(full):
    convs, kernels, normed, widths = dense_encoder(3, 48, (6, 12, 36, 24), 96, dims=2)
    steps = [(2208, 768), (768, 384), (384, 96), (96, 96), (96, 64)]
    more = dense_decoder(widths, steps, dims=2)
    head = 64 * 3
    network = full.get_layer("dense2d")
    layers_2d = [w for w in network.weights if w.name == "kernel"]
    assert len(layers_2d) == convs + more[0] + 1 == 167
    assert sum(analysis.conv_parameters(network).values()) == kernels + more[1] + head
    weights = kernels + more[1] + head + 4 * (normed + more[2]) + more[3] + 3
    assert network.count_params() == weights == 49_749_187


def test_counts_of_the_3d_network(full):
    """65 with the classifier that it has when it is trained by itself."""
    convs, kernels, normed, widths = dense_encoder(1 + 3, 32, (3, 4, 12, 8), 96, dims=3)
    assert widths == [96, 192, 224, 496, 504]
    steps = [(504, 504), (504, 224), (224, 192), (192, 96), (96, 64)]
    more = dense_decoder(widths, steps, dims=3)
    network = full.get_layer("dense3d")
    assert sum(w.name == "kernel" for w in network.weights) + 1 == convs + more[0] + 1 == 65
    weights = kernels + more[1] + 4 * (normed + more[2]) + more[3]
    assert network.count_params() == weights == 16_253_368


def test_counts_of_the_hybrid(full):
    fusion, head = 27 * 64 * 64 + 4 * 64, 64 * 3 + 3
    own = 49_749_187 + 16_253_368
    assert full.count_params() == own + fusion + head == 66_113_598


# ---- The hybrid ----------------------------------------------------------------------------------


def test_any_size_save_and_load(tmp_path):
    model = settle(hybrid())
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for sizes in ((1, 1, 1), (5, 33, 20)):
        x = volumes(2, *sizes, 1)
        found = outputs(model, x)
        assert found.shape == (2, *sizes, 2) and found.dtype == np.float32
        np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(outputs(again, x), found, atol=1e-5)
    folded = fold_batch_norm(model)
    norms = [sum("moving_mean" in w.path for w in each.weights) for each in (model, folded)]
    assert norms[1] < norms[0]
    np.testing.assert_allclose(outputs(folded, x), found, atol=1e-5)


def test_folding_the_2d_network():
    """Its batch norms stand before convolutions, too: those stay, the others go."""
    model = settle(flat(dropout=0.3))
    folded = fold_batch_norm(model)
    left = {w.path.split("/")[-2] for w in folded.weights if "moving_mean" in w.path}
    assert "e3_1_bn1" in left and not left & {"e2_bn", "e3_1_bn2", "d5_bn"}
    x = volumes(2, 40, 33, 3)
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(folded.predict(x, verbose=0), expected, atol=1e-5)


def stuck_after_a_step(model):
    """Paths of the weights that a training step leaves as they are."""
    model.compile("adam", SmallObjectLoss(), run_eagerly=EAGERLY)
    before = [np.array(w) for w in model.get_weights()]
    truth = (volumes(2, 5, 33, 40, seed=1) > 200).astype("int32")
    assert np.isfinite(model.train_on_batch(volumes(2, 5, 33, 40, 1), truth))
    pairs = zip(model.weights, before, model.get_weights(), strict=True)
    return {w.path for w, a, b in pairs if np.array_equal(a, b)}


@needs_eager_steps
def test_one_training_step():
    """Every kernel of both parts has a gradient."""
    stuck = stuck_after_a_step(hybrid())
    assert not [path for path in stuck if path.endswith("kernel")]


@needs_eager_steps
def test_the_2d_part_can_wait():
    """Frozen it stays as it is, moving statistics included; the rest learns."""
    model = hybrid(trainable_2d=False)
    flat_weights = {w.path for w in model.get_layer("dense2d").weights}
    stuck = stuck_after_a_step(model)
    assert flat_weights <= stuck
    assert not [path for path in stuck - flat_weights if path.endswith("kernel")]
    model.get_layer("dense2d").trainable = True
    assert not flat_weights & stuck_after_a_step(model) - {
        w.path for w in model.get_layer("dense2d").non_trainable_weights
    }


def test_the_2d_part_sees_what_the_2d_network_sees(tmp_path):
    """Slice by slice, with its weights and its normalization, edge slices being their own
    neighbours; the depth is no multiple of the 3-D part's stride."""
    network = settle(flat(channels=6, mean=[90, 40] * 3, variance=[900, 400] * 3))
    network.save(tmp_path / "flat.keras")
    model = hybrid(channels=2, weights_2d=tmp_path / "flat.keras", trainable_2d=False)
    x = volumes(2, 5, 33, 20, 2)
    scores = keras.Model(model.input, model.get_layer("stack_scores").output)
    found = scores.predict(x, verbose=0)[:, :, :33, :20]
    for depth in range(5):
        around = [max(depth - 1, 0), depth, min(depth + 1, 4)]
        image = np.concatenate([x[:, each] for each in around], axis=-1)
        expected = network.predict(image, verbose=0)
        np.testing.assert_allclose(found[:, depth], expected, atol=1e-5)


def balls(count, sizes, radius, seed=0):
    """A volume with bright balls in noise, and their mask."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), axis=-1)
    mask = np.zeros(sizes, bool)
    for _ in range(count):
        centre = [rng.uniform(radius, size - radius) for size in sizes]
        mask |= ((grid - centre) ** 2).sum(axis=-1) < radius**2
    image = 60 + 110 * mask + rng.normal(0, 15, sizes)
    return image.clip(0, 255)[None, ..., None].astype("float32"), mask[None].astype("int32")


@pytest.mark.slow  # to compile, under TensorFlow and JAX
@pytest.mark.one_backend
def test_a_small_volume_is_learnt():
    """All of the hybrid together, by few steps on one volume."""
    image, mask = balls(4, (8, 32, 32), radius=3)
    model = hybrid(num_classes=1, features=8)
    before = [np.array(w) for w in model.get_weights()]
    # at the end small steps, so that the moving statistics are of the weights as they then are
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([40], [0.02, 0.001])
    metric = IoU()
    model.compile(keras.optimizers.Adam(rate), SmallObjectLoss())
    losses = model.fit(image, mask, epochs=80, verbose=0).history["loss"]
    pairs = zip(model.weights, before, model.get_weights(), strict=True)
    stuck = {w.path for w, a, b in pairs if np.array_equal(a, b)}
    assert not [path for path in stuck if path.endswith("kernel")]
    metric.update_state(mask, model.predict(image, verbose=0))
    assert losses[-1] < 0.5 * losses[0]
    assert float(metric.result()) > 0.8


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="a SavedModel is written under TensorFlow"
)
def test_the_hybrid_is_exported(tmp_path):
    report = export(settle(hybrid()), tmp_path / "out")
    assert max(report.differences.values()) <= 1e-5
    assert (tmp_path / "out" / "saved_model.pb").is_file()


# ---- Slices, and their analysis ------------------------------------------------------------------


def test_slices_and_back(tmp_path):
    x = volumes(2, 3, 4, 5, 2).astype("float32")
    inputs = keras.Input((None, None, None, 2))
    slices = NeighbouringSlices()(inputs)
    assert slices.shape == (None, None, None, 6)
    model = keras.Model(inputs, StackSlices()([slices, inputs]))
    assert model.output_shape == (None, None, None, None, 6)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    found = again.predict(x, verbose=0)
    np.testing.assert_array_equal(found[..., 2:4], x)
    np.testing.assert_array_equal(found[:, 1:, ..., :2], x[:, :-1])
    np.testing.assert_array_equal(found[:, :-1, ..., 4:], x[:, 1:])
    np.testing.assert_array_equal(found[:, 0, ..., :2], x[:, 0])
    np.testing.assert_array_equal(found[:, -1, ..., 4:], x[:, -1])
    assert NeighbouringSlices().compute_output_shape((2, 3, 4, 5, 2)) == (6, 4, 5, 6)


def sliced_network(depth_multiple=1):
    """A 3x3 convolution of each slice with its neighbours, then one of 3 x 3 x 3."""
    inputs = keras.Input((None, None, None, 1))
    x = PadToMultiple((depth_multiple, 4, 4), name="e1_pad")(inputs)
    y = NeighbouringSlices(name="e1_slices")(x)
    y = keras.layers.Conv2D(2, 3, padding="same", name="e1_conv")(y)
    y = StackSlices(name="e1_stack")([y, x])
    return keras.Model(inputs, keras.layers.Conv3D(1, 3, padding="same", name="d1_conv")(y))


def test_analysis_of_slices():
    """Along the depth a slice's convolution sees 1 slice either way, the 3-D one another."""
    macs = analysis.macs(sliced_network(2), depth=3, height=6, width=7)  # padded to 4 x 8 x 8
    assert macs == {"e1": 256 * 9 * 3 * 2, "d1": 256 * 27 * 2}
    assert analysis.receptive_field(sliced_network()).size == 5
    assert analysis.grid_stride(sliced_network(6)) == 12
    deep = keras.Input((None, None, None, 1))
    y = keras.layers.Conv3D(1, (5, 1, 1), padding="same")(deep)
    y = StackSlices()([NeighbouringSlices()(y), deep])
    assert analysis.receptive_field(keras.Model(deep, y)).size == 7
    images = keras.Input((None, None, 1))
    with pytest.raises(ValueError, match="of images that are no slices"):
        analysis.macs(keras.Model([images, deep], StackSlices()([images, deep])))


def test_analysis_of_the_hybrid():
    """The 2-D part costs what the 2-D network costs on all slices."""
    inside = analysis.macs(hybrid(), depth=5, height=64, width=64)
    alone = sum(analysis.macs(flat(), height=64, width=64).values())
    assert inside["dense2d"] == 5 * alone
    assert analysis.analyze(hybrid(), depth=8, height=64, width=64).total[3] > 0


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": (1, 1, 1)}, "layers of four dense blocks"),
        ({"growth": 0}, "`growth`"),
        ({"first_filters": 0}, "`first_filters`"),
        ({"dropout": 1.0}, "`dropout`"),
        ({"growth_3d": 8}, "is for volumes"),
        ({"trainable_2d": False}, "is for volumes"),
        ({"weights": "imagenet"}, "`option` must be one of"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        flat(**options)


def test_bad_options_of_volumes(tmp_path):
    with pytest.raises(ValueError, match="blocks_3d"):
        hybrid(blocks_3d=(1, 1))
    with pytest.raises(ValueError, match="`growth_3d`"):
        hybrid(growth_3d=0)
    with pytest.raises(FileNotFoundError, match="missing"):
        hybrid(weights_2d=tmp_path / "missing.keras")
    flat(growth=3).save(tmp_path / "wide.keras")
    with pytest.raises(ValueError, match="with the same options and classes"):
        hybrid(weights_2d=tmp_path / "wide.keras")
    flat(mean=[1, 2, 3]).save(tmp_path / "coloured.keras")
    with pytest.raises(ValueError, match="normalizes a slice and its two neighbours alike"):
        hybrid(weights_2d=tmp_path / "coloured.keras")


# ---- The convolution that both networks begin with -----------------------------------------------


@pytest.mark.parametrize("rank", [2, 3])
def test_a_centred_convolution(rank):
    """It is Keras's 'valid' one on a padded map: values at even and odd sizes, cost and field."""
    centred, conv, pad = {
        2: (CentredConv2D, keras.layers.Conv2D, keras.layers.ZeroPadding2D),
        3: (CentredConv3D, keras.layers.Conv3D, keras.layers.ZeroPadding3D),
    }[rank]
    inputs = keras.Input((*[None] * rank, 2))
    ours = keras.Model(inputs, centred(3, 5, 2, name="e1_conv")(inputs))
    expected = keras.Model(inputs, conv(3, 5, 2, name="e1_conv")(pad(2, name="e1_pad")(inputs)))
    expected.set_weights(ours.get_weights())
    for sizes in ((6, 8, 4), (5, 7, 8)):
        x = np.random.default_rng(0).standard_normal((2, *sizes[:rank], 2)).astype("float32")
        found = ours.predict_on_batch(x)
        np.testing.assert_allclose(found, expected.predict_on_batch(x), atol=1e-5)
    at = {"height": 8, "width": 9, "depth": 6}
    assert analysis.macs(ours, **at) == analysis.macs(expected, **at)
    assert analysis.receptive_field(ours) == analysis.receptive_field(expected)
