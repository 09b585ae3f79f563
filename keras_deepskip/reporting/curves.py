"""Curves of a training, and those from which its operating point was chosen, as pictures."""

from keras_deepskip.drawing import figure_png, new_figure

PANELS = (("loss", "loss"), ("iou", "pixel IoU"), ("object_f1", "object F1"))
LINES = {"recall": "--", "precision": ":", "f1": "-"}
MOST_CLASSES = 4  # a panel each


def draw_curves(history):
    """Draws loss, pixel IoU and object F1 against epochs, of training and validation.

    Args:
        history: list of dicts, the rows of a run's `history.csv`.

    Returns:
        The bytes of a PNG.

    Raises:
        ImportError: if matplotlib is not installed.

    Example:

    >>> png = draw_curves([{"epoch": 1, "loss": 1.0, "val_loss": 1.1}])
    >>> png[1:4]
    b'PNG'
    """
    figure = new_figure(11, 3, "drawing curves")
    epochs = [row["epoch"] for row in history]
    for axes, (name, title) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in history[0]:
                axes.plot(epochs, [row[key] for row in history], marker=".", label=label)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        if name != "loss":
            axes.set_ylim(0, 1)
        if axes.lines:
            axes.legend()
    return figure_png(figure)


def draw_threshold_curve(curve, threshold, class_names=None):
    """Draws recall, precision and F1 of validation objects against the threshold, by class.

    A vertical line is the threshold that was chosen. At each threshold the least area is the best
    one there. Of more than four classes the first four are shown.

    Args:
        curve: list of dicts, as of `Run.operating_curve`.
        threshold: the one that was chosen.
        class_names: dict of names by class id, or None.

    Returns:
        The bytes of a PNG.

    Raises:
        ValueError: if there is no curve.
        ImportError: if matplotlib is not installed.

    Example:

    >>> row = {"class": 1, "threshold": 0.5, "recall": 0.8, "precision": 0.6, "f1": 0.69}
    >>> png = draw_threshold_curve([row], threshold=0.5)
    >>> png[1:4]
    b'PNG'
    """
    classes = sorted({row["class"] for row in curve})[:MOST_CLASSES]
    if not classes:
        raise ValueError("`curve` must have at least one row. Received: none")
    figure = new_figure(4 * len(classes), 3, "drawing curves")
    panels = figure.subplots(1, len(classes), squeeze=False)[0]
    for axes, class_id in zip(panels, classes, strict=True):
        rows = [row for row in curve if row["class"] == class_id]
        thresholds = [row["threshold"] for row in rows]
        for name, style in LINES.items():
            axes.plot(thresholds, [row[name] for row in rows], style, label=name.title())
        axes.axvline(threshold, color="black", linewidth=0.8)
        title = (class_names or {}).get(class_id, f"class {class_id}") if len(classes) > 1 else ""
        axes.set(title=title, xlabel="threshold", ylim=(0, 1), xlim=(0, 1))
        axes.grid(alpha=0.3)
        axes.legend()
    return figure_png(figure)
