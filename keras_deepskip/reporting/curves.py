"""Training curves as a picture."""

from keras_deepskip.drawing import figure_png, new_figure

PANELS = (("loss", "loss"), ("iou", "pixel IoU"), ("object_f1", "object F1"))


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
