"""`demo`: the whole main job on synthetic data, from the audit to a page in the browser."""

import time
from pathlib import Path

import keras
import numpy as np

from keras_deepskip import _checks
from keras_deepskip._versions import versions
from keras_deepskip.analysis import analyze, closed_form
from keras_deepskip.data import audit, load_pair, read_image, sample, write_png
from keras_deepskip.drawing import draw_comparison, draw_mask
from keras_deepskip.export import export
from keras_deepskip.inference import evaluate, predict
from keras_deepskip.metrics import masks_from_outputs
from keras_deepskip.reporting import Page, draw_curves, draw_threshold_curve
from keras_deepskip.training import Recipe, train

# Coins, so that the network can be tried on a real photograph of coins at the end; from a few
# pixels wide up to the size they have there.
SCENES = {"kind": "coins", "images": 96, "size": (8, 60), "count": (4, 12)}
GREY_EVERY = 4  # one in so many scenes is grey
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in a grey value (ITU-R BT.601)
RECIPE = Recipe(epochs=12, steps_per_epoch=80, batch_size=4, crop_size=128, validation_windows=24)


def demo(out="deepskip-demo", seed=0, epochs=None, verbose="auto"):
    """Makes a small set, audits it, trains, evaluates, predicts, exports, and shows it all.

    Takes a few minutes on two CPU cores.

    Args:
        out: folder to write to: `data/`, `run/` (as `train` leaves it), `found/` (as `predict`
            does), `saved_model/`, `photograph/`, and `report.html`.
        seed: of the scenes and of the training.
        epochs: of training; None takes the recipe's 12.
        verbose: 0 shows nothing, 1 bars, 2 a line an epoch; `"auto"` bars on a terminal.

    Returns:
        Path of the page, `out/report.html`.

    Raises:
        ValueError: if `out` already holds a demo.
        ImportError: if matplotlib or scikit-image is not installed.

    Example:

    ```python
    demo("deepskip-demo", epochs=2)
    ```
    """
    out = Path(out)
    if (out / "data").exists():
        raise ValueError(f"{out} already holds a demo. Remove it, or choose another folder (--out)")
    for package in ("matplotlib", "skimage"):
        _checks.require(package, '"keras-deepskip[demo]"', "the demo")
    log = print if verbose else lambda *_: None
    recipe = Recipe(**{**RECIPE.to_dict(), "seed": seed, "epochs": epochs or RECIPE.epochs})

    log("1/6 Making scenes of small coins among other things ...")
    data = sample(out / "data", seed=seed, **SCENES)
    _make_grey(data / "images")
    log("2/6 Auditing them ...")
    report = audit(data, seed=seed)
    log(f"3/6 Training {recipe.epochs} epochs ({keras.backend.backend()} backend) ...")
    start = time.perf_counter()
    run = train(data, out / "run", recipe, verbose=verbose)
    minutes = (time.perf_counter() - start) / 60
    log("4/6 Evaluating on images that it was not trained on ...")
    found = evaluate(run, out=run.folder, verbose=verbose)
    log(found.text())
    log("5/6 Predicting, also on a real photograph ...")
    images = [item.image for item in run.split.test] + [_photograph(out / "photograph")]
    objects = predict(run, images, out / "found", verbose=verbose)
    log("6/6 Exporting a SavedModel and comparing it ...")
    exported = _export(run, out / "saved_model")
    log(exported)

    page = Page("keras_deepskip demo: small coins in cluttered scenes")
    _add_summary(page, recipe, minutes, found)
    page.add_heading("What it finds")
    _add_comparisons(page, run)
    _add_photograph(page, run.model, images[-1])
    page.add_heading("Results on images that it was not trained on")
    page.add_block(found.text())
    page.add_heading("Training")
    page.add_picture(
        draw_curves(run.history), "Each epoch, on training crops and validation windows."
    )
    page.add_picture(
        draw_threshold_curve(run.operating_curve, run.operating_point.threshold),
        "Objects of the validation images found, by threshold; the line is the one that was "
        f"chosen. Objects of less than {run.operating_point.min_area} pixels count as background.",
    )
    page.add_heading("The data")
    page.add_block(report.text())
    page.add_heading("The network, counted and by the paper's equations")
    page.add_block(analyze(run.model, closed_form()).text())
    page.add_heading("The exported model")
    page.add_block(exported)
    page.add_text(
        f"{len(objects)} objects are listed in found/objects.csv, with outlines in overlays/."
    )
    page.add_block("\n".join(f"{name}: {value}" for name, value in versions().items()))
    page.write(out / "report.html")
    return out / "report.html"


def _make_grey(folder):
    """Takes the colours out of some scenes: the network must not rely on them in photographs."""
    for path in sorted(folder.iterdir())[1::GREY_EVERY]:
        grey = np.round(read_image(path).astype("float32") @ np.array(LUMA, "float32"))
        write_png(path, np.repeat(grey[..., None].astype("uint8"), 3, axis=-1))


def _photograph(folder):
    """Writes scikit-image's photograph of coins as a file, as a user would have it."""
    from skimage import data

    path = folder / "coins.png"
    write_png(path, data.coins())
    return path


def _export(run, path):
    """Exports where TensorFlow is there; where it is not, says so."""
    try:
        return export(run, path).text()
    except ImportError as error:
        return f"No SavedModel was written: {error}"


def _add_summary(page, recipe, minutes, found):
    page.add_text(
        f"A light deep-skip network of 644,192 weights was trained for {recipe.total_steps} steps, "
        f"{minutes:.1f} minutes, on synthetic scenes in which no threshold finds the coins. On "
        f"{found.images} images that it was not trained on it has a pixel IoU of "
        f"{found.pixels['IoU']:.2f}, and finds {100 * found.objects['all']['recall']:.0f} % of the "
        f"coins; {100 * found.objects['all']['precision']:.0f} % of the coins that it "
        "predicts are coins."
    )


def _add_comparisons(page, run, count=3):
    for item in run.split.test[:count]:
        image, truth = load_pair(item, run.model.input_shape[-1])
        prediction = masks_from_outputs(run.model.predict_on_batch(image[None]))[0]
        page.add_picture(
            draw_comparison(image, truth, prediction),
            f"{item.name}: image | truth (found green, missed red) | prediction (right green, "
            "false amber)",
            zoom=2,
        )


def _add_photograph(page, model, path):
    image = np.repeat(read_image(path), 3, axis=-1)
    mask = masks_from_outputs(model.predict_on_batch(image[None]))[0]
    page.add_picture(
        draw_mask(image, mask),
        "A real photograph (scikit-image's coins), of which the network has seen nothing alike: "
        "what it predicts as a coin is outlined.",
        zoom=2,
    )
