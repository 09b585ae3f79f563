"""Callbacks of a training run: seeds, checkpoints, TensorBoard logs, a stop on NaN."""

import math
import random
import time
from pathlib import Path

import keras
import numpy as np

from keras_deepskip import _files, _sizes
from keras_deepskip.drawing import draw_comparison, to_rgb
from keras_deepskip.metrics import masks_from_outputs
from keras_deepskip.training.event_file import EventFile
from keras_deepskip.training.run import (
    CHECKPOINT,
    HISTORY,
    MODEL,
    OLD_CHECKPOINT,
    POINT,
    monitored,
    order,
)

LOG_PARTS = ("train", "validation")
OUTCOMES = ("score", "iou", "object_f1", "loss")  # of the validation, beside hyper-parameters
SCORED = ("val_iou", "val_object_f1")


class TrainingDiverged(ArithmeticError):
    """The loss is no longer a number."""


def seed_generators(seed):
    """Seeds the generators of Python, NumPy and, where it is the backend, PyTorch.

    `keras.utils.set_random_seed` would import TensorFlow under any backend, if it is installed, and
    under TensorFlow have all compiled functions built again.
    """
    random.seed(seed)
    np.random.seed(seed)
    if keras.backend.backend() == "torch":
        import torch

        torch.manual_seed(seed)


class StopOnNaN(keras.callbacks.Callback):
    """Ends training at once when the loss is not finite, before anything is saved.

    It watches the loss of each step, and that of the validation: the last step of an epoch may
    spoil the weights after its own loss was taken. Callbacks that save come after this one.

    Raises:
        TrainingDiverged: names the epoch and the step.
    """

    def __init__(self):
        super().__init__()
        self.epoch = self.step = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        self.step = batch + 1
        self._check("the loss", (logs or {}).get("loss"))

    def on_epoch_end(self, epoch, logs=None):
        self._check("the validation's loss", (logs or {}).get("val_loss"))

    def _check(self, what, loss):
        if loss is None or math.isfinite(float(loss)):
            return
        kept = f"The weights of epoch {self.epoch - 1} are kept"
        raise TrainingDiverged(
            f"{what} became {float(loss)} in epoch {self.epoch}, step {self.step}. "
            f"{kept if self.epoch > 1 else 'No epoch was finished'}. Begin a new run with a lower "
            "learning rate, or with precision='float32' if it was another"
        )


class SeedEpochs(keras.callbacks.Callback):
    """Has every epoch begin with generators seeded by the run's seed and the epoch's number.

    The random numbers of an epoch (of dropout and random layers, by Python, NumPy and PyTorch) are
    then the same whether the epochs before it were run in this process or in another: a `.keras`
    file does not hold the state of generators.

    Args:
        seed: integer of at least 0.
    """

    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        # `variables` are the weights and the states [seed, calls so far] of generators.
        weights = {id(variable) for variable in self.model.weights}
        states = [v for v in self.model.variables if id(v) not in weights]
        first, *others = np.random.SeedSequence([self.seed, epoch]).generate_state(1 + len(states))
        seed_generators(int(first))
        for state, other in zip(states, others, strict=True):
            state.assign([int(other) >> 1, 0])  # 31 bits, which all backends' states hold


class LossOfWindows(keras.callbacks.Callback):
    """Has `val_loss` be the mean over true windows, where others of no loss fill batches up.

    Args:
        windows: a `WindowDataset`.
    """

    def __init__(self, windows):
        super().__init__()
        count = len(windows.places)
        self.factor = (count + -count % windows.shares) / count

    def on_epoch_end(self, epoch, logs=None):
        if logs and "val_loss" in logs:
            logs["val_loss"] *= self.factor


class ValidationScore(keras.callbacks.Callback):
    """Adds `val_score` to the logs: the mean of `val_iou` and `val_object_f1`, of what is known.

    The best epoch is that of the highest score: of objects as well as of pixels.
    """

    def on_epoch_end(self, epoch, logs=None):
        if logs and "val_iou" in logs:
            known = [_finite(logs[name]) for name in SCORED if logs.get(name) is not None]
            known = [value for value in known if value is not None]
            logs["val_score"] = sum(known) / len(known) if known else math.nan


class Checkpoint(keras.callbacks.Callback):
    """Keeps the best model, and after every epoch all that an exact resume needs.

    Writes in `folder`: `model.keras`, the best model so far by `monitor`; `history.csv`, a line an
    epoch; `training_state/epoch-N.keras` with weights and optimizer state, and
    `training_state/state.json` that names it. Each file is whole or not there. A run that is killed
    at any moment finds the last epoch that `state.json` names, and makes `model.keras` of it anew
    if that epoch is the best.

    Args:
        folder: the run's folder.
        monitor: name in the logs; higher is better. Of equals (such as 0, as long as nothing is
            found), the lower `val_loss` is better.
        patience: stops training after so many epochs without a better one; None never does.
        network_of: function from the model that is trained to the network that is kept as the best
            model.

    Attributes:
        begin: number of epochs before the stage that is trained, from which patience counts.
        is_over: None, or a function that says after each epoch whether training ends.
        state: dict of `epoch`, the number of whole epochs; `best` and `best_loss`, the metric and
            the loss of the best epoch, `best_epoch`, its number; `stopped`, whether patience has
            ended; and `rows`, the lines of `history.csv`. A value that is not finite is None.
    """

    def __init__(self, folder, monitor="val_score", patience=None, network_of=lambda form: form):
        super().__init__()
        self.folder = Path(folder)
        self.network_of = network_of
        self.monitor = monitor
        self.patience = patience
        self.begin = 0
        self.is_over = None
        self.state = {
            "epoch": 0,
            "best": None,
            "best_loss": None,
            "best_epoch": None,
            "stopped": False,
            "rows": [],
        }
        self._started = None

    @property
    def state_path(self):
        """Where the state is kept."""
        return self.folder / CHECKPOINT / "state.json"

    def restore(self):
        """Reads the state, if there is one, and removes what a kill may have left.

        Returns:
            Path of the model to continue with; None if no epoch was finished.
        """
        old = self.folder / OLD_CHECKPOINT
        if old.is_dir() and not self.state_path.parent.exists():
            old.rename(self.state_path.parent)
        for folder in (self.folder, self.state_path.parent):
            _files.remove_leftovers(folder)
        if not self.state_path.exists():
            return None
        self.state = _files.read_json(self.state_path, "the state of a training run")
        self.monitor = monitored(self.state["rows"])
        self._remove_other_epochs()
        return self._epoch_path()

    def keep_best(self, model):
        """Writes the best model again, if the last epoch is the best.

        After a kill that came when the state was written, it may be that of an earlier epoch.

        Args:
            model: the model that `restore` names.
        """
        if self.state["best_epoch"] == self.state["epoch"] and not (self.folder / POINT).exists():
            self._save(self.network_of(model), self.folder / MODEL)

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        metrics = {name: _finite(value) for name, value in (logs or {}).items()}
        seconds = round(time.perf_counter() - self._started, 3)
        self.state["epoch"] = epoch + 1
        self.state["rows"].append({"epoch": epoch + 1, **metrics, "seconds": seconds})
        better = self._compare(metrics.get(self.monitor), metrics.get("val_loss"))
        if self.is_over is not None and self.is_over():
            self.state["stopped"] = True
        self._save(self.model, self._epoch_path())
        _files.write_text(self.folder / HISTORY, _files.csv_text(self.state["rows"]))
        _files.write_json(self.state_path, self.state)
        if better:  # after the state: see `keep_best`
            self._save(self.network_of(self.model), self.folder / MODEL)
        self._remove_other_epochs()
        if self.state["stopped"]:
            self.model.stop_training = True

    def scores(self, begin=0):
        """The scores of the epochs from `begin` on; None where there is none."""
        return [row.get(self.monitor) for row in self.state["rows"][begin:]]

    def _compare(self, value, loss):
        """Whether the epoch is the best so far; else sees whether patience has ended."""
        epoch, best_epoch = self.state["epoch"], self.state["best_epoch"]
        best = order(self.state["best"], self.state["best_loss"])
        if best_epoch is None or order(value, loss) > best:
            self.state.update(best=value, best_loss=loss, best_epoch=epoch)
            return True
        if self.patience is not None:
            self.state["stopped"] = epoch - max(best_epoch, self.begin) >= self.patience
        return False

    def _save(self, model, path):
        with _files.replacing(path) as temporary:
            model.save(temporary, overwrite=True)

    def _epoch_path(self):
        return self.state_path.with_name(f"epoch-{self.state['epoch']:04d}.keras")

    def _remove_other_epochs(self):
        keep = self._epoch_path()
        for path in self.state_path.parent.glob("epoch-*.keras"):
            if path != keep:
                path.unlink()


class TensorBoardLogger(keras.callbacks.Callback):
    """Writes TensorBoard logs on any backend, TensorFlow installed or not.

    Scalars after every epoch, those of the training batches in the folder `train` and those of the
    validation in `validation`, so that the two curves of a figure share one chart; and pictures of
    image | truth | prediction, in which missed objects are orange, false ones yellow and found ones
    blue, with curves of precision and recall of their pixels by threshold, for each class. Values
    that are not finite are left out. What older files of the folder hold of the same epochs is no
    longer shown. The first epoch also has hyper-parameters and texts.

    Args:
        folder: where the event files go.
        images: array (N, H, W, C) that the model predicts, or whatever it takes; None
            shows no pictures.
        masks: their class ids, (N, H, W) or (N, H, W, 1).
        pictures: array (N, H, W, 3) uint8, the images as they are to be seen; None makes them by
            `drawing.to_rgb`.
        every: epochs from one set of pictures to the next; the first and last epoch always have
            theirs.
        epochs: number of the last epoch.
        parameters: dict of hyper-parameters, for the plugin HParams; None shows none.
        texts: dict of texts in Markdown by name, or None.
        class_names: dict of names by class id, or None.

    Raises:
        ImportError: if tensorboardX is not installed.
        OSError: if the logs cannot be written.
    """

    def __init__(
        self,
        folder,
        images=None,
        masks=None,
        pictures=None,
        every=5,
        epochs=None,
        parameters=None,
        texts=None,
        class_names=None,
    ):
        super().__init__()
        self.parameters, self.texts = parameters, texts or {}
        self.class_names = class_names or {}
        self.folder, self.every, self.epochs = Path(folder), every, epochs
        self.images, self.masks, self.pictures = images, masks, pictures
        if images is not None:
            self.masks = np.asarray(masks).reshape(masks.shape[:3])
            if pictures is None:
                self.pictures = np.stack([to_rgb(image) for image in images])
        self._events = None

    def on_epoch_begin(self, epoch, logs=None):
        if self._events is None:
            self._events = {
                part: EventFile(self.folder / part, first_step=epoch + 1) for part in LOG_PARTS
            }
            if epoch == 0:
                self._tell()

    def _tell(self):
        """Writes what is known before the first step."""
        for name, text in self.texts.items():
            self._events["validation"].add_text(name, text, 1)
        if self.parameters:
            self._events["validation"].add_parameters(self.parameters, OUTCOMES, 1)

    def on_epoch_end(self, epoch, logs=None):
        self._step = epoch + 1
        for (part, name), value in self._scalars(logs or {}).items():
            if math.isfinite(value):
                self._events[part].add_scalar(name, value, epoch + 1)
        if self.images is not None and (epoch % self.every == 0 or epoch + 1 == self.epochs):
            self._add_pictures(epoch + 1)
        for events in self._events.values():
            events.flush()

    def on_train_end(self, logs=None):
        for events in (self._events or {}).values():  # None if no epoch was run
            events.end_session(self._step)
            events.close()
        self._events = None

    def _scalars(self, logs):
        """Part, tag and number of all that is logged."""
        scalars = {
            ("validation", name[4:]) if name.startswith("val_") else ("train", name): float(value)
            for name, value in logs.items()
        }
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        return {**scalars, ("train", "learning_rate"): float(rate)}

    def _add_pictures(self, step):
        outputs = _sizes.predict_on_batch(self.model, self.images)
        outputs = np.asarray(keras.ops.convert_to_numpy(outputs), "float32")
        predicted = masks_from_outputs(outputs)
        for class_id in range(1, max(outputs.shape[-1], 2)):
            own = outputs[..., class_id if outputs.shape[-1] > 1 else 0]
            name = self.class_names.get(class_id, f"class_{class_id}")
            self._events["validation"].add_curve(
                f"precision_recall/{name}", self.masks == class_id, own, step
            )
        rows = zip(self.pictures, self.masks, predicted, strict=True)
        for number, (picture, truth, prediction) in enumerate(rows, start=1):
            picture = draw_comparison(picture, truth, prediction)
            self._events["validation"].add_picture(
                f"image_truth_prediction/{number}", picture, step
            )


def _finite(value):
    """A number as a float that JSON can hold; None if it is not finite."""
    value = float(value)
    return value if math.isfinite(value) else None
