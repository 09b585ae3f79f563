"""`suggest`: which images to annotate next: those that a model's views disagree about."""

import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_deepskip import _checks, _files
from keras_deepskip._progress import progress
from keras_deepskip.folding import fold_batch_norm
from keras_deepskip.inference.choice_of_images import chosen_images
from keras_deepskip.inference.image_work import LARGE, WHOLE
from keras_deepskip.inference.outputs import check_model, check_sizes, decision_of
from keras_deepskip.inference.prediction import predict
from keras_deepskip.inference.sources import open_source
from keras_deepskip.inference.tiled import probabilities_of
from keras_deepskip.inference.tta import views
from keras_deepskip.models import RunLike, input_range_of, resolve_model
from keras_deepskip.objects import match_objects

TABLE = "suggestions.csv"
COLUMNS = ("image", "disagreement", "objects", "file")


def suggest(
    models: keras.Model | RunLike | Sequence[keras.Model | RunLike],
    images: str | os.PathLike | Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    count: int = 20,
    formats: str | Sequence[str] = ("coco",),
    verbose: int | str = "auto",
) -> list[dict]:
    """Ranks images by how unsure the model is of them, and writes what it finds in the first ones.

    For a loop of annotation: the images that teach most are those on which a committee disagrees
    (H. S. Seung, M. Opper, H. Sompolinsky, Query by committee, COLT 1992). The committee are
    several models, such as those of `cross_validate`, or one model's views of the image mirrored in
    four ways. The disagreement of an image is 1 minus the mean, over the committee, of
    (object F1 + pixel IoU) / 2 between one's masks and those of the mean of all: 0 where all say
    the same, 1 where nobody agrees.

    Writes in `out`: `suggestions.csv`, one line per image, those with the most disagreement first;
    and of the first `count` images what `predict` writes, with `formats` to correct in an
    annotation tool: CVAT and most others read COCO's `annotations.json`, Label Studio the tasks of
    `"label-studio"`, QuPath GeoJSON.

    Args:
        models: a built `keras.Model` with probabilities as output, or a `Run`; or a list of these
            of the same classes and channels. The first one decides by its operating point, and
            predicts.
        images: as in `predict`.
        out: the folder to write to.
        count: how many images to write predictions of, those with the most disagreement first.
        formats: forms to write the objects in, to be corrected in an annotation tool: `"coco"`,
            `"geojson"`, `"imagej"`, `"label-studio"`, `"ome-zarr"` or `"yolo"`, as in `predict`.
        verbose: 0 shows nothing, 1 a progress bar, 2 one line; `"auto"` a bar on a terminal.

    Returns:
        The lines of `suggestions.csv`, dicts: `image`, `disagreement`, `objects` (in the masks of
        the mean) and `file`.

    Raises:
        ValueError: if there is no model, if the models differ in classes or channels, or no image
            can be read. Else as `predict`.

    Example:

    ```python
    first = suggest(run, "unlabelled", "next", count=10)
    print([row["image"] for row in first[:10]])
    ```
    """
    _checks.check_integer("count", count)
    models = list(models) if isinstance(models, list | tuple) else [models]
    if not models:
        raise ValueError("`models` must hold at least one model or run. Received: none")
    committee = [resolve_model(each)[0] for each in models]
    channels = _shared_form(committee)
    first, run = resolve_model(models[0])
    point = decision_of(first, run)
    expected = run.input_range if run else input_range_of(first)
    folded = [fold_batch_norm(model) for model in committee]
    samples = chosen_images(images, Path(out), verbose)
    rows, failures, ranked = [], [], {}
    with progress(len(samples), verbose, "Ranked") as show:
        for number, sample in enumerate(samples, start=1):
            try:
                source = open_source(sample.image, channels, expected=expected)
                _refuse_large(sample, source)
                check_sizes(first, source.sizes, sample.image)
                outputs = _committee_outputs(folded, source.read(WHOLE))
            except (ValueError, OSError) as error:
                failures.append((sample, error))
            else:
                disagreement, objects = _judged(outputs, point)
                ranked[sample.name] = sample
                rows.append(
                    {"image": sample.name, "disagreement": round(disagreement, 4),
                     "objects": objects, "file": str(sample.image)}
                )  # fmt: skip
            show(number)
    if failures and not rows:
        raise failures[0][1]
    if failures:
        warnings.warn(
            f"{len(failures)} of {len(samples)} images could not be ranked. The first: "
            f"{failures[0][1]}",
            stacklevel=2,
        )
    rows.sort(key=lambda row: (-row["disagreement"], row["image"]))
    chosen = [ranked[row["image"]] for row in rows[:count]]  # under the names of the table
    predict(models[0], chosen, out, formats=formats, verbose=0)
    _files.write_text(Path(out) / TABLE, _files.csv_text(rows, COLUMNS))
    return rows


def _shared_form(committee):
    """The channels of all models, which must be alike."""
    forms = {check_model(model) for model in committee}
    if len(forms) > 1:
        known = [f"{channels} channels to {classes} outputs" for channels, classes in sorted(forms)]
        raise ValueError(
            "models of the same channels and classes were expected. Received: "
            f"{'; '.join(known)}. Give those of one set, such as the folds of a cross-validation"
        )
    return forms.pop()[0]


def _refuse_large(sample, source):
    if math.prod(source.sizes) > LARGE:
        raise ValueError(
            f"{sample.image}: an image of at most {LARGE:,} pixels was expected, as it is looked "
            f"at in several ways. Received: {source.sizes}. Cut it, and suggest among its parts"
        )


def _committee_outputs(models, image):
    """What each member says: (members, H, W, K)."""
    if len(models) > 1:
        return np.stack([probabilities_of(model, image) for model in models])
    return np.stack(
        [back(probabilities_of(models[0], there(image[None])[0])[None])[0]
         for there, back in views("flips")]
    )  # fmt: skip


def _judged(outputs, point):
    """The disagreement of a committee, and the number of objects that its mean has."""
    consensus = point.masks(outputs.mean(axis=0)[None])[0]
    labels, count = point.labels(consensus)
    agreements = []
    for mask in point.masks(outputs):
        own, found = point.labels(mask)
        pairs = sum(
            len(match_objects(np.where(consensus == i, labels, 0), np.where(mask == i, own, 0))[0])
            for i in np.unique(consensus[consensus > 0])
        )
        union = ((mask > 0) | (consensus > 0)).sum()
        same = ((mask == consensus) & (mask > 0)).sum()
        objects = 2 * pairs / (count + found) if count + found else 1.0
        agreements.append((objects + (same / union if union else 1.0)) / 2)
    return 1 - float(np.mean(agreements)), count
