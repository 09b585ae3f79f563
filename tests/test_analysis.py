"""Equations 2-4 against networks that were built, and receptive fields against what is seen."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_deepskip import analysis, build_model


@pytest.mark.parametrize(
    ("backbone", "total"), [("light_vgg16", 644_192), ("light_resnet34", 1_677_472)]
)
def test_the_papers_networks(backbone, total):
    """Counts at B = 5, b = 8, k = 3, b0 = 3, bc = 1, computed by hand from equations 2-4."""
    report = analysis.analyze(build_model(backbone=backbone), analysis.closed_form(backbone))
    assert report.total[1:3] == [total, total]
    decoder = [row for row in report.rows if row[0].startswith("d")]
    assert sum(row[1] for row in decoder) == sum(row[2] for row in decoder) == 349_632
    assert "349,632" in report.text() and f"{total:,}" in report.text()


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_built_network_counts_as_its_closed_form(data):
    levels = data.draw(st.integers(2, 6), "B")
    options = {
        "backbone": data.draw(st.sampled_from(["light_vgg16", "light_resnet34"])),
        "levels": levels,
        "base_filters": data.draw(st.integers(1, 6), "b"),
        "kernel_size": data.draw(st.sampled_from([1, 3, 5]), "k"),
        "skips": data.draw(st.sampled_from(["deep", "flat"])),
    }
    if options["backbone"] == "light_resnet34":
        q = st.lists(st.integers(1, 3), min_size=levels - 1, max_size=levels - 1)
        options["blocks_per_level"] = data.draw(q, "q")
    channels, classes = data.draw(st.integers(1, 7), "b0"), data.draw(st.integers(1, 4), "bc")
    model = build_model((None, None, channels), classes, **options)
    expected = analysis.closed_form(channels=channels, num_classes=classes, **options)
    assert analysis.conv_parameters(model) == expected


def test_equation_2_by_hand():
    """O_4 at b = 8, k = 3: (1 + 1 + 4) 4^3 64 9; O_3: (1 + 2 + 2 + 4) 4^2 64 9."""
    assert analysis.decoder_parameters(4) == 6 * 64 * 64 * 9
    assert analysis.decoder_parameters(3) == 9 * 16 * 64 * 9
    with pytest.raises(ValueError, match="`u` must be one of 1, 2, 3, 4"):
        analysis.decoder_parameters(5)


def test_macs_by_hand():
    """Two convolutions at full size, one enlarged convolution, on an image of 8 x 12."""
    model = build_model((None, None, 2), levels=2, base_filters=4, kernel_size=3)
    macs = analysis.macs(model, 8, 12)
    e1 = 8 * 12 * 9 * (2 * 4 + 4 * 4)
    e2 = 4 * 6 * 9 * (4 * 8 + 8 * 8)
    d1 = 8 * 12 * 9 * (4 * 4 + 8 * 4 + 8 * 4 + 4 * 4)
    assert macs == {"e1": e1, "e2": e2, "d1": d1, "head": 8 * 12 * 4}


@pytest.mark.parametrize("backbone", ["light_vgg16", "light_resnet34"])
@pytest.mark.parametrize(("levels", "kernel_size"), [(2, 3), (3, 3), (3, 1)])
def test_receptive_field_is_what_the_output_sees(backbone, levels, kernel_size):
    """With positive weights no contribution cancels: the set of pixels seen is exact."""
    options = {} if backbone == "light_vgg16" else {"blocks_per_level": [1] * (levels - 1)}
    options |= {"levels": levels, "base_filters": 1, "kernel_size": kernel_size}
    options |= {"backbone": backbone, "activation": None, "mean": 0, "variance": 1}
    model = build_model((None, None, 1), **options)
    for weight in model.weights:
        if weight.path.endswith("/kernel"):
            weight.assign(np.full(weight.shape, 1 / np.prod(weight.shape[:-1])))
    field = analysis.receptive_field(model)
    size, stride = 96, 2 ** (levels - 1)
    base = model.predict(np.ones((1, size, size, 1), "float32"), verbose=0)
    seen_before, seen_after = 0, 0
    for at in range(48, 48 + stride):  # every place on the network's grid
        image = np.ones((1, size, size, 1), "float32")
        image[0, at, at] += 1e4
        rows = np.nonzero((model.predict(image, verbose=0) != base)[0, :, :, 0].any(axis=1))[0]
        seen_before = max(seen_before, rows.max() - at)
        seen_after = max(seen_after, at - rows.min())
    assert seen_before <= field.before and seen_after <= field.after
    assert (seen_before, seen_after) == (field.before, field.after)


def test_what_sees_everything_is_refused():
    x = inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="e1_conv")(x)
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name="e1_gate")(x)
    model = keras.Model(inputs, keras.layers.Multiply()([x, gate]))
    with pytest.raises(ValueError, match="'e1_gate' .* sees the whole image"):
        analysis.receptive_field(model)


def test_an_unknown_operation_is_named():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.ops.flip(inputs, axis=1))
    with pytest.raises(ValueError, match="no rule for the operation"):
        analysis.receptive_field(model)
