"""`demo`: the whole main job on synthetic data, from the audit to a page in the browser."""

import functools
import time
from pathlib import Path

import keras
import numpy as np

from keras_deepskip import _checks
from keras_deepskip.analysis import analyze, closed_form
from keras_deepskip.data import audit, read_image, sample, write_png
from keras_deepskip.export import export
from keras_deepskip.inference import evaluate, predict
from keras_deepskip.reporting import NEEDED, Report
from keras_deepskip.training import Recipe, train

# Coins, so that the network can be tried on a real photograph of coins at the end; from a few
# pixels wide up to the size they have there.
SCENES = {"kind": "coins", "images": 96, "size": (8, 60), "count": (4, 12)}
GREY_EVERY = 4  # one in so many scenes is grey
PHOTOGRAPH = "coins"  # the name of the real one
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in a grey value (ITU-R BT.601)
RECIPE = Recipe(epochs=12, steps_per_epoch=80, batch_size=4, crop_size=128, validation_windows=24)


def demo(out="deepskip-demo", seed=0, epochs=None, verbose="auto"):
    """Makes a small set, audits it, trains, evaluates, predicts, exports, and shows it all.

    Takes a few minutes on two CPU cores.

    Args:
        out: folder to write to: `data/`, `run/` (as `train` leaves it), `found/` (as `predict`
            does), `saved_model/`, `photograph/`, and `report.html`.
        seed: seed of the scenes and of the training.
        epochs: epochs of training; None takes 12.
        verbose: 0 shows nothing, 1 bars, 2 one line per epoch; `"auto"` bars on a terminal.

    Returns:
        Path of the page, `out/report.html`.

    Raises:
        ValueError: if `out` already holds a demo.
        ImportError: if a package of the extra `demo` is not installed.

    Example:

    ```python
    demo("deepskip-demo", epochs=2)
    ```
    """
    out = Path(out)
    if (out / "data").exists():
        raise ValueError(f"{out} already holds a demo. Remove it, or choose another folder (--out)")
    for package in (*NEEDED, "skimage"):
        _checks.require(package, '"keras-deepskip[demo]"', "the demo")
    log = functools.partial(print, flush=True) if verbose else lambda *_: None
    recipe = Recipe(**{**RECIPE.to_dict(), "seed": seed, "epochs": epochs or RECIPE.epochs})

    log("1/6 Making scenes of small coins among other things ...")
    data = sample(out / "data", seed=seed, **SCENES)
    _make_grey(data / "images")
    log("2/6 Auditing them ...")
    log(f"    {audit(data, seed=seed).summary()} (on the page: The data)")
    log(f"3/6 Training {recipe.epochs} epochs ({keras.backend.backend()} backend) ...")
    start = time.perf_counter()
    run = train(data, out / "run", recipe, verbose=verbose)
    minutes = (time.perf_counter() - start) / 60
    log("4/6 Evaluating on images that it was not trained on ...")
    exports = out / "saved_model.export.json"
    page = Report(run, "keras_deepskip demo: small coins in cluttered scenes", [exports])
    found = evaluate(run, out=run.folder, each=page.add, verbose=verbose)
    log("5/6 Predicting, also on a real photograph ...")
    images = [item.image for item in run.split.test] + [_photograph(out / "photograph")]
    predict(
        run, images, out / "found", verbose=verbose,
        each=lambda image: page.add(image) if image.sample.name == PHOTOGRAPH else None,
    )  # fmt: skip
    log("6/6 Exporting a SavedModel and comparing it ...")
    agreement, exported = _export(run, out / "saved_model")
    log(f"    {agreement}")
    counted = analyze(run.model, closed_form()).text()
    page.add_note("The training in words", _summary(recipe, minutes, found))
    page.add_note("The network's kernels, and those that the paper's equations count", counted)
    page.add_note("The exported model", exported)
    return page.write(out / "report.html", found)


def _make_grey(folder):
    """Takes the colours out of some scenes: the network must not rely on them in photographs."""
    for path in sorted(folder.iterdir())[1::GREY_EVERY]:
        grey = np.round(read_image(path).astype("float32") @ np.array(LUMA, "float32"))
        write_png(path, np.repeat(grey[..., None].astype("uint8"), 3, axis=-1))


def _photograph(folder):
    """Writes scikit-image's photograph of coins as a file, as a user would have it."""
    from skimage import data

    path = folder / f"{PHOTOGRAPH}.png"
    write_png(path, data.coins())
    return path


def _export(run, path):
    """Exports where TensorFlow is there; where it is not, says so: in a line, and in full."""
    try:
        report = export(run, path)
    except ImportError as error:
        text = f"No SavedModel was written: {error}"
        return text, text
    return report.agreement(), report.text()


def _summary(recipe, minutes, found):
    every = found.objects["all"]
    return (
        f"A light deep-skip network of 644,192 weights was trained for {recipe.total_steps} steps, "
        f"{minutes:.1f} minutes, on synthetic scenes\nin which no threshold finds the coins. On "
        f"{found.images} images that it was not trained on it has a pixel IoU of "
        f"{found.pixels['IoU']:.2f},\nand finds {100 * every['recall']:.0f} % of the coins; "
        f"{100 * every['precision']:.0f} % of the coins that it predicts are coins.\n"
        f"The image `{PHOTOGRAPH}` is a real photograph (scikit-image's), "
        "of which it has seen nothing alike."
    )
