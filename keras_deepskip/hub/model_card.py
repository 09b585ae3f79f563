"""The card of a model: what it is, on what it was trained, what it finds, and how to use it."""

import json
from collections.abc import Sequence

from keras_deepskip.inference import Evaluation
from keras_deepskip.training import Run

CARD = """---
{front}
---

# {name}

Finds {what} in images: a light network for small objects, made with keras_deepskip.

```python
import keras_deepskip as kd

model = kd.load_model("hf://{repo}")  # pip install "keras-deepskip[hub]"
kd.predict(model, "folder_of_images", "found")
```

Images have {channels} and values from {low:g} to {high:g}, and any height and width.
Probabilities above {threshold:g} count as found{least}{touching}.

## What it finds

On {images} test images that it was not trained on:

{metrics}
{pictures}

## Data

{data}

## Training

{plan}

Made with {versions}.
"""


def model_card(
    run: Run,
    evaluation: Evaluation,
    repo_id: str,
    licence: str,
    pictures: Sequence[str] = (),
) -> str:
    """Writes the card of a run's model, as the hub shows it.

    Args:
        run: a `Run`.
        evaluation: its `Evaluation` on test images.
        repo_id: `user/name`.
        licence: of the model, by the hub's name, such as `"apache-2.0"`.
        pictures: names of files beside the card to show.

    Returns:
        The text: Markdown with the hub's fields in front.

    Example:

    ```python
    print(model_card(run, keras_deepskip.evaluate(run), "lab/lesions", "cc-by-4.0"))
    ```
    """
    point, split = run.operating_point, run.split
    kinds = [name for label, name in sorted((run.class_names or {}).items()) if label > 0]
    low, high = run.input_range
    return CARD.format(
        front=_front(evaluation, licence),
        name=_plain(repo_id.partition("/")[2]),
        repo=repo_id,
        what=_plain(", ".join(kinds)) or "objects",
        channels="1 channel" if run.channels == 1 else f"{run.channels} channels",
        low=low,
        high=high,
        threshold=point.threshold,
        least=_least(point.min_area),
        touching="; objects that touch are told apart by their shape" if point.separate else "",
        images=evaluation.images,
        pictures=_shown(pictures),
        metrics=evaluation.text().rpartition("Lowest IoU")[0].strip(),
        data=f"{len(split.train)} images to train on, {len(split.val)} to validate on and "
        f"{len(split.test)} to test on.",
        plan=run.plan.text(),
        versions=", ".join(f"{name} {value}" for name, value in run.versions.items()),
    )


def _front(evaluation, licence):
    """The hub's fields. JSON is YAML, and its texts need no other escapes."""
    fields = {
        "library_name": "keras",
        "license": licence,
        "pipeline_tag": "image-segmentation",
        "tags": ["keras_deepskip", "small-objects"],
        "metrics": ["mean_iou", "f1"],
        "keras_deepskip": {
            "iou": round(evaluation.pixels["IoU"], 4),
            "object_f1": round(evaluation.objects["all"]["f1"], 4),
        },
    }
    return "\n".join(f"{name}: {json.dumps(value)}" for name, value in fields.items())


def _least(area):
    if isinstance(area, tuple | list):
        least = ", ".join(f"{own} of class {label}" for label, own in enumerate(area) if label)
        return f", objects of at least {least} pixels" if any(area) else ""
    return f", objects of at least {area} pixels" if area else ""


def _shown(pictures):
    """The pictures, each below the other."""
    if not pictures:
        return ""
    legend = "Image, truth (found blue, missed orange), prediction (right blue, false yellow)"
    return "\n".join(["", f"{legend}:", *(f"\n![{legend}]({name})" for name in pictures)])


def _plain(text):
    """A text of the user's that Markdown shows as it is."""
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]<>#|!" else sign for sign in text)
