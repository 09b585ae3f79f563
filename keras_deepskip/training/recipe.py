"""The numbers of a training run: what `train` and its command take, and what a plan fills in."""

import dataclasses

from keras_deepskip import _checks

SCENES = ("upright", "any")
BUDGETS = ("minutes", "steps", "epochs")
SCHEDULES = ("cosine", "plateau")
PLANNED = (
    "epochs", "schedule", "steps_per_epoch", "batch_size", "crop_size", "positive_share", "scene",
    "jitter", "size_balance", "include_absent",
)  # fmt: skip
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclasses.dataclass(frozen=True)
class Stage:
    """Epochs `begin` to `end` of a run (at most, with "plateau"), with one schedule.

    The learning rate `rises` to `learning_rate` in its first steps, or begins there.
    """

    begin: int
    end: int
    learning_rate: float
    frozen: bool = False
    schedule: str = "cosine"
    rises: bool = True


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a network is trained. What is None is chosen by the plan, from the data (`make_plan`).

    The length of the training is given by one of `minutes`, `steps` and `epochs`; with none of
    them it lasts until the validation score stops improving.

    Attributes:
        epochs: rounds of `steps_per_epoch` batches, each evaluated on the validation images; at
            most, with the schedule `"plateau"`.
        steps: batches in all; an epoch is about 100 of them.
        minutes: how long training may take, evaluation included. How many steps that is, is
            measured on the machine before the first one.
        schedule: of the learning rate after the warm-up: `"cosine"` falls to 0 along a half cosine;
            `"plateau"` stays level until the score has not improved for `patience` epochs, then
            falls to 0 in a third of the epochs until then, and training ends.
        steps_per_epoch: batches per epoch.
        batch_size: crops per batch.
        accumulate: batches whose gradients are averaged before the weights change, for crops of
            which no large batch fits into memory: the effect of a batch so many times as large,
            but for batch norms, which see each batch alone. None changes them after each batch.
        crop_size: side of the square crops, in pixels.
        positive_share: share of the crops that are taken around an object, so that rare objects
            are seen.
        scene: `"upright"` scenes have an up and a down, as streets have: crops are mirrored left
            and right alone; `"any"` have none, as cells and slides: crops are mirrored both ways
            and turned by quarter turns too.
        jitter: whether crops also change in size, up to 1.35 times either way, and each channel by
            up to 15 %: for sets that are seen often.
        learning_rate: learning rate of Adam, after the warm-up.
        warmup: share of all steps in which the learning rate rises from 0.
        alpha: of `SmallObjectLoss`: the weight of object pixels in the cross-entropy; background
            pixels have 1 - alpha.
        beta: of `SmallObjectLoss`: the weight of the cross-entropy.
        dice_weight: of `SmallObjectLoss`: the weight of Dice.
        size_balance: of `SmallObjectLoss`: how much more the pixels of small objects count in the
            cross-entropy, from 0 (as much as others) to 1.
        include_absent: of `SmallObjectLoss`: whether classes that a crop lacks count in its Dice.
        augment: whether crops are mirrored, turned as `scene` allows, and changed in brightness and
            contrast.
        freeze_epochs: of a network on a backbone with weights, the number of epochs that train all
            but the backbone; the rest train both, starting from `fine_tune_rate` times the
            learning rate. 0 trains all from the beginning.
        fine_tune_rate: share of `learning_rate` in the epochs after `freeze_epochs`.
        freeze_batch_norm: whether the backbone's batch norms keep their statistics and weights in
            the epochs after `freeze_epochs` too.
            False has them learn: for images of another kind than those that the weights are of.
        patience: epochs without a better validation score (the mean of pixel IoU and object F1),
            after which training stops or, with the schedule `"plateau"`, the learning rate falls.
            None never stops, and is 12 with that schedule; epochs with a frozen backbone don't
            count.
        precision: dtype policy: `"float32"`, `"mixed_bfloat16"` or `"mixed_float16"`.
        validation_windows: each epoch is evaluated on as many pixels as so many crops have, at
            most, and on 8 windows at least.
        prefer: in the choice of the operating point, `"recall"` or `"precision"` counts twice as
            much as the other. None weighs both alike.
        seed: seed of the split, the initial weights, the crops and their augmentation.
        workers: threads (or processes) that prepare batches.
        use_multiprocessing: whether the workers are processes.
        disk_cache_bytes: decoded images that do not fit into memory are kept on the disk up to this
            many bytes while the run lasts (see `CropDataset`); 0 decodes them each time.

    Raises:
        ValueError: if a number is out of range.

    Example:

    >>> Recipe(epochs=3, steps_per_epoch=25).total_steps
    75
    """

    epochs: int | None = None
    steps: int | None = None
    minutes: float | None = None
    steps_per_epoch: int | None = None
    batch_size: int | None = None
    accumulate: int | None = None
    crop_size: int | None = None
    positive_share: float | None = None
    scene: str | None = None
    jitter: bool | None = None
    schedule: str | None = None
    learning_rate: float = 3e-3
    warmup: float = 0.05
    alpha: float = 0.5
    beta: float = 1.0
    dice_weight: float = 1.0
    size_balance: float | None = None
    include_absent: bool | None = None
    augment: bool = True
    freeze_epochs: int = 0
    fine_tune_rate: float = 0.1
    freeze_batch_norm: bool = True
    patience: int | None = None
    precision: str = "float32"
    validation_windows: int = 48
    prefer: str | None = None
    seed: int = 0
    workers: int = 1
    use_multiprocessing: bool = False
    disk_cache_bytes: int = 2**34

    def __post_init__(self):
        for name in (
            "epochs", "steps", "steps_per_epoch", "batch_size", "accumulate", "crop_size"
        ):  # fmt: skip
            if getattr(self, name) is not None:
                _checks.check_integer(name, getattr(self, name))
        self._check_budget()
        _checks.check_integer("workers", self.workers)
        _checks.check_choice("scene", self.scene, (None, *SCENES))
        _checks.check_choice("schedule", self.schedule, (None, *SCHEDULES))
        _checks.check_choice("prefer", self.prefer, (None, "recall", "precision"))
        _checks.check_integer("validation_windows", self.validation_windows)
        _checks.check_integer("seed", self.seed, minimum=0)
        _checks.check_integer("disk_cache_bytes", self.disk_cache_bytes, minimum=0)
        if self.patience is not None:
            _checks.check_integer("patience", self.patience)
        _checks.check_integer("freeze_epochs", self.freeze_epochs, minimum=0)
        if self.epochs is not None and self.freeze_epochs >= self.epochs:
            raise ValueError(
                "`freeze_epochs` must leave an epoch for fine-tuning. Received: "
                f"freeze_epochs={self.freeze_epochs} of epochs={self.epochs}. To train the decoder "
                "alone, build the network with trainable_backbone=False"
            )
        if self.positive_share is not None:
            _checks.check_number("positive_share", self.positive_share, 0, 1)
        if self.size_balance is not None:
            _checks.check_number("size_balance", self.size_balance, 0, 1)
        for name in ("warmup", "alpha", "fine_tune_rate"):
            _checks.check_number(name, getattr(self, name), 0, 1)
        _checks.check_number("learning_rate", self.learning_rate, 0, float("inf"), open_high=True)
        for name in ("beta", "dice_weight"):
            _checks.check_number(name, getattr(self, name), 0, float("inf"), open_high=True)
        _checks.check_choice("precision", self.precision, PRECISIONS)

    def _check_budget(self):
        given = {n: getattr(self, n) for n in BUDGETS if getattr(self, n) is not None}
        if len(given) > 1:
            raise ValueError(
                "one of `minutes`, `steps` and `epochs` says how long training takes. Received: "
                + ", ".join(f"{name}={value}" for name, value in given.items())
            )
        if self.minutes is not None and _checks.check_number("minutes", self.minutes, 0, 1e6) == 0:
            raise ValueError("`minutes` must be more than 0. Received: minutes=0")

    @property
    def missing(self):
        """Names of the fields that a plan has yet to fill in."""
        return [name for name in PLANNED if getattr(self, name) is None]

    @property
    def open_ended(self):
        """Whether no budget is given."""
        return all(getattr(self, name) is None for name in BUDGETS)

    @property
    def total_steps(self):
        """All training steps, of a recipe with a number of epochs."""
        return self.epochs * self.steps_per_epoch

    @property
    def stages(self):
        """The `Stage`s of the run: one; with `freeze_epochs` two."""
        schedule = self.schedule or "cosine"
        if not self.freeze_epochs:
            return [Stage(0, self.epochs, self.learning_rate, schedule=schedule)]
        rate = self.learning_rate * self.fine_tune_rate
        return [
            Stage(0, self.freeze_epochs, self.learning_rate, frozen=True),
            Stage(self.freeze_epochs, self.epochs, rate, schedule=schedule),
        ]

    def to_dict(self):
        """The fields as a plain dict, for JSON."""
        return dataclasses.asdict(self)
