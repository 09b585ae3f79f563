"""The configuration of a study: categories, networks, and presets with budgets."""

import dataclasses
import json
import string
from collections.abc import Mapping
from pathlib import Path

from keras_deepskip import _checks, _files
from keras_deepskip.architectures import find_architecture
from keras_deepskip.data import sample
from keras_deepskip.training import Recipe

NAME_CHARACTERS = {*string.ascii_letters, *string.digits, *" _-"}


@dataclasses.dataclass(frozen=True)
class Category:
    """A kind of small object, and its images.

    Attributes:
        name: in the tables, and of folders.
        folder: of images and masks; relative to the folder of all sets, or absolute. None: the
            images are synthetic.
        synthetic: arguments of `data.sample` for synthetic images, such as `{"kind": "coins"}`.
        group_by: regular expression; images whose names agree in its first group stay together.

    Raises:
        ValueError: if there is neither `folder` nor `synthetic`, or both.

    Example:

    >>> Category("my cells", "/home/me/cells").is_synthetic
    False
    """

    name: str
    folder: str | None = None
    synthetic: Mapping | None = None
    group_by: str | None = None

    def __post_init__(self):
        if (self.folder is None) == (self.synthetic is None):
            raise ValueError(
                "expected a category with either a `folder` or `synthetic` images. Received: "
                f"folder={self.folder!r}, synthetic={self.synthetic!r} for {self.name!r}"
            )
        _check_name("category", self.name)

    @property
    def is_synthetic(self):
        """Whether its images are synthetic."""
        return self.folder is None

    def provide(self, data, out):
        """Returns the folder of its images and masks; makes synthetic ones if they are missing.

        Args:
            data: folder of all sets; None where no category needs it.
            out: the study's folder; synthetic images are written to `synthetic/` in it.

        Raises:
            FileNotFoundError: if there is no such folder.
        """
        if self.is_synthetic:
            return self._synthetic(Path(out) / "synthetic" / self.name)
        folder = Path(data or ".") / self.folder
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: expected images and masks of the category {self.name!r} here. Give the "
                "folder that holds the sets as `data` (--data), or a category of your own"
            )
        return folder

    def _synthetic(self, folder):
        """Makes the images, unless the folder holds those of these arguments."""
        note = folder / "sample.json"
        made = _files.read_json(note, "how images were made", dict) if note.exists() else {}
        asked = json.loads(json.dumps(dict(self.synthetic)))  # tuples are lists there
        if not made or any(made.get(name) != value for name, value in asked.items()):
            sample(folder, overwrite=True, **self.synthetic)
        return folder


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of a study, and where its recipe differs from the common one.

    Attributes:
        name: short; also the name of a folder.
        label: in the tables.
        options: for `build_model`.
        recipe: fields of `Recipe` that differ from the preset's: its loss, its learning rate.
        timed_as: its name in `timing.TIMED_NETWORKS`, for its time and memory; None: these are not
            measured.

    Raises:
        ValueError: if an option or a field is not known.
    """

    name: str
    label: str
    options: Mapping = dataclasses.field(default_factory=dict)
    recipe: Mapping = dataclasses.field(default_factory=dict)
    timed_as: str | None = None

    def __post_init__(self):
        _check_name("network", self.name)
        architecture = self.options.get("architecture", "deepskip")
        known = find_architecture(architecture).options
        for option in self.options:
            _checks.check_choice("option", option, (*known, "architecture"))
        Recipe(**self.recipe)


@dataclasses.dataclass(frozen=True)
class Preset:
    """The budget of every run of a study.

    Attributes:
        about: in a few words, its purpose and how long it takes.
        categories: names of the categories.
        networks: names of the networks; None takes all.
        seeds: of the split, the weights and the crops; the same for every network.
        steps: training steps of a run; None where `minutes` say how long it is.
        minutes: of the training of a run, in which each network does as many steps as fit; all else
            is what the plan chooses for its images, as in `train`. None: `steps`, in the paper's
            recipe.
        steps_of: by network, the steps of those that are too slow for `steps`.
        epochs: into which the steps are divided, or fewer if that leaves a remainder; each ends
            with an evaluation on the validation images.
        recipe: other fields of `Recipe`, such as crop and batch.
        test_images: most test images for the evaluation of a run; None takes all.

    Raises:
        ValueError: if there are neither `steps` nor `minutes`, or both.
    """

    about: str
    categories: tuple
    seeds: tuple
    steps: int | None = None
    minutes: float | None = None
    networks: tuple | None = None
    steps_of: Mapping = dataclasses.field(default_factory=dict)
    epochs: int = 10
    recipe: Mapping = dataclasses.field(default_factory=dict)
    test_images: int | None = None

    def __post_init__(self):
        if (self.steps is None) == (self.minutes is None):
            raise ValueError(
                "expected a preset with either `steps` or `minutes`. Received: "
                f"steps={self.steps}, minutes={self.minutes}"
            )

    def recipe_for(self, network, seed):
        """The `Recipe` of a network's run."""
        if self.minutes is not None:
            own = {**self.recipe, **network.recipe}
            return Recipe(minutes=self.minutes, seed=seed, **own)
        steps = self.steps_of.get(network.name, self.steps)
        epochs = next(n for n in range(min(self.epochs, steps), 0, -1) if steps % n == 0)
        paper = {"jitter": False, "size_balance": 0.0, "include_absent": True}
        shared = {**paper, **self.recipe, **network.recipe}
        return Recipe(epochs=epochs, steps_per_epoch=steps // epochs, seed=seed, **shared)


@dataclasses.dataclass(frozen=True)
class Study:
    """The configuration of a study.

    Attributes:
        name: of the study.
        title: heading of its report.
        networks: tuple of `Network`.
        reference: name of the network that the others are compared with, pair by pair.
        categories: tuple of `Category`.
        presets: dict of `Preset` by name.
        costs: whether parameters, time and memory are measured.
    """

    name: str
    title: str
    networks: tuple
    reference: str
    categories: tuple
    presets: Mapping
    costs: bool = False

    def __post_init__(self):
        _checks.check_choice("reference", self.reference, [n.name for n in self.networks])


def check_different(what, values):
    """Returns a list of values if there are any, and no two alike; else raises a `ValueError`."""
    values = list(values)
    if not values or len(set(values)) < len(values):
        raise ValueError(f"`{what}` must be different values, one at least. Received: {values}")
    return values


def _check_name(what, name):
    if not name or not set(name) <= NAME_CHARACTERS:
        raise ValueError(
            f"expected letters, digits, spaces, - and _ in a {what}'s name, which is also the "
            f"name of a folder. Received: name={name!r}"
        )


def select(what, items, names):
    """Returns the items of these names, in the order of the names; None takes all.

    Raises:
        ValueError: if a name is not known or given twice, or none is given.
    """
    by_name = {item.name: item for item in items}
    chosen = list(by_name) if names is None else check_different(what, names)
    return [by_name[_checks.check_choice(what, name, by_name)] for name in chosen]
