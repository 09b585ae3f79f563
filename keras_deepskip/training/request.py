"""What a training run is asked for: its arguments, checked, and as `config.json` keeps them."""

import dataclasses
import json

import keras

from keras_deepskip import _checks, _files
from keras_deepskip.architectures import find_architecture
from keras_deepskip.data import MaskReading
from keras_deepskip.data.split import FRACTIONS
from keras_deepskip.encoders import LIGHT_LEVELS
from keras_deepskip.models import image_model_shapes
from keras_deepskip.training.recipe import BUDGETS, Recipe
from keras_deepskip.training.run import CONFIG

# Arguments that change no result, so that a resumed run may have others.
FREE = ("disk_cache_bytes", "workers", "use_multiprocessing")


@dataclasses.dataclass(frozen=True)
class Request:
    """The arguments of `train`, save where the data and the run are.

    Attributes:
        recipe: the `Recipe`.
        masks: the `MaskReading`; without a number of classes it is what the masks hold.
        channels, input_range: of the images; None takes what the images have.
        split: dict of `split_file`, `fractions` and `group_by`.
        model: a model of the user's own, or None.
        model_options: of the model that is built if there is none, complete with the defaults.
    """

    recipe: Recipe
    masks: MaskReading
    channels: int | None
    input_range: tuple | None
    split: dict
    model: keras.Model | None
    model_options: dict

    def __post_init__(self):
        if self.model is None:
            complete = _complete_options(self.model_options)
            _check_freezing(self.recipe, complete)
            object.__setattr__(self, "model_options", complete)
            return
        num_classes, channels = _check_own_model(self)
        masks = dataclasses.replace(self.masks, num_classes=num_classes)
        object.__setattr__(self, "masks", masks)
        object.__setattr__(self, "channels", channels)

    @property
    def stride(self):
        """The coarsest stride of the network in pixels, for the audit."""
        return 2 ** ((self.model_options.get("levels") or LIGHT_LEVELS) - 1)

    def to_json(self):
        """The arguments as `config.json` keeps them."""
        split_file = self.split["split_file"]
        fields = {
            "recipe": self.recipe.to_dict(),
            "model": {"own": self.model is not None, **self.model_options},
            "data": {
                **self.masks.to_dict(),
                "channels": self.channels,
                "input_range": self.input_range,
                **self.split,
                "split_file": split_file and str(split_file),
            },
        }
        return json.loads(json.dumps(fields, default=str))  # tuples are lists when it is read again

    @classmethod
    def begun(cls, config, model):
        """The arguments that a run was begun with, from its `config.json`."""
        data = config["data"]
        limits = data.get("input_range")
        options = {n: value for n, value in config.get("model", {}).items() if n != "own"}
        return cls(
            Recipe(**config["recipe"]),
            MaskReading.from_dict(data),
            data.get("channels"),
            limits and tuple(limits),
            {name: data.get(name) for name in ("split_file", "fractions", "group_by")},
            model,
            options,
        )

    def of_run(self, config):
        """The arguments of a run that resumes: those it was begun with, and here what is free."""
        begun, default = Request.begun(config, self.model), Recipe()
        now = {name: getattr(self.recipe, name) for name in FREE}
        now = {name: value for name, value in now.items() if value != getattr(default, name)}
        return dataclasses.replace(begun, recipe=dataclasses.replace(begun.recipe, **now))


def begun_config(out, request, resume):
    """Returns the `config.json` of the run to resume; None where a new run begins.

    What the request leaves at its default is taken from the run. The budget (`minutes`, `steps`,
    `epochs`) may be another one.

    Args:
        out: the run's folder.
        request: the `Request`.
        resume: True, False, or `"auto"`: whichever of them fits.

    Raises:
        ValueError: if `out` holds a run and `resume` is false, if it holds none and `resume` is
            true, or if the run was begun with other arguments.
    """
    path = out / CONFIG
    _checks.check_choice("resume", resume, (True, False, "auto"))
    resume = path.exists() if resume == "auto" else resume
    if resume and not path.exists():
        raise ValueError(
            f"{out} holds no run to resume (no {CONFIG}). Leave out `resume` to begin one, or "
            "give 'auto'"
        )
    if not path.exists():
        return None
    if not resume:
        raise ValueError(
            f"{out} already holds a training run. Pass `resume=True` (--resume) to continue it, "
            "or choose another folder"
        )
    begun = _files.read_json(path, "the arguments of a training run")
    if begun.get("model", {}).get("own") and request.model is None:
        raise ValueError(
            f"the run in {out} trains a model of your own, which its folder cannot repeat. "
            "Received: no `model`. Give it again: train(model=...)"
        )
    changed = _changed(begun, request)
    if changed:
        raise ValueError(
            f"a run is resumed with the arguments it was begun with ({path}). Received: "
            f"{', '.join(changed)}. Leave them out"
        )
    return begun


def with_recipe(config, fields):
    """A `config.json` of which the recipe has another budget; the same one without `fields`."""
    others = dict.fromkeys(BUDGETS) if fields else {}
    return {**config, "recipe": {**config["recipe"], **others, **fields}}


def _changed(begun, request):
    """What a request gives that is neither as the run has it nor the default, as texts."""
    architecture = request.model_options.get("architecture", "deepskip")  # whose own defaults count
    default = Request(
        Recipe(), MaskReading(), None, None,
        {"split_file": None, "fractions": FRACTIONS, "group_by": None}, None,
        {"architecture": architecture},
    ).to_json()  # fmt: skip
    default["model"]["architecture"] = "deepskip"
    arguments = request.to_json()
    return [
        f"{name}={now[name]!r} (was {before.get(name)!r})"
        for part, now in arguments.items()
        for before in [begun.get(part, {})]
        for name in now
        if now[name] not in (before.get(name), default[part].get(name))
        and name not in (*FREE, *BUDGETS)
    ]


def _complete_options(options):
    """The options of the model with the defaults of those left out, all of them known ones."""
    for name in ("multilabel", "activation"):
        if name in options:
            raise ValueError(
                "`train` reads masks of one class id a pixel, for a model of probabilities. "
                f"Received: {name}={options[name]!r}. Leave it out; or call build_model with it, "
                "and `fit` with data of your own"
            )
    name = options.get("architecture", "deepskip")
    defaults = {**find_architecture(name).options, "architecture": name}
    for option in options:
        _checks.check_choice("option", option, defaults)
    complete = {**defaults, **options}
    if complete.get("levels") is not None:
        _checks.check_integer("levels", complete["levels"], minimum=2)
    if not isinstance(complete.get("backbone", ""), str):
        raise ValueError(
            f"`backbone` must be a name here, so that the run's {CONFIG} can repeat it. "
            "Received: a model. Give train(model=build_model(backbone=...)) instead"
        )
    return complete


def _check_freezing(recipe, options):
    if recipe.freeze_epochs and not options.get("weights"):
        raise ValueError(
            "`freeze_epochs` keeps the weights that a backbone brings; random ones are not worth "
            f"keeping. Received: freeze_epochs={recipe.freeze_epochs} without `weights`. Give "
            "`weights`, or leave it out"
        )


def _check_own_model(request):
    """Returns the classes and channels of a user's model, after checking that it can be trained."""
    if request.model_options:
        raise ValueError(
            "with a `model` of your own there is none to build. Received also: "
            f"{', '.join(request.model_options)}. Leave them out"
        )
    precision, own = request.recipe.precision, request.model.dtype_policy.name
    if precision not in (own, Recipe().precision):
        raise ValueError(
            f"`precision` must be that of `model`, {own}, which it was built with. Received: "
            f"precision={precision!r}. Leave it out, or build the model with that policy"
        )
    shapes = image_model_shapes(request.model)
    fixed = {size for size in shapes[0][1:3] if size is not None}
    crop_size = request.recipe.crop_size
    if crop_size is None and len(fixed) == 1:
        (crop_size,) = fixed
        recipe = dataclasses.replace(request.recipe, crop_size=crop_size)
        object.__setattr__(request, "recipe", recipe)
    if fixed - {crop_size}:
        raise ValueError(
            "`model` must take crops of the recipe's size. Received: a model for "
            f"{shapes[0][1]} x {shapes[0][2]}, crop_size={crop_size}. Give that crop_size, "
            "or build the model for (None, None, channels)"
        )
    num_classes, channels = shapes[1][-1], shapes[0][-1]
    given = {"num_classes": request.masks.num_classes, "channels": request.channels}
    for (name, value), own in zip(given.items(), (num_classes, channels), strict=True):
        if value not in (None, own):
            raise ValueError(
                f"`{name}` must be that of `model`, {own}. Received: {name}={value}. Leave it out"
            )
    return num_classes, channels
