"""What a study is made of: categories, networks, and presets that say how much each gets."""

import dataclasses
import string
from collections.abc import Mapping
from pathlib import Path

from keras_deepskip import _checks
from keras_deepskip.architectures import find_architecture
from keras_deepskip.data import sample
from keras_deepskip.training import Recipe

NAME_CHARACTERS = {*string.ascii_letters, *string.digits, *" _-"}


@dataclasses.dataclass(frozen=True)
class Category:
    """A kind of small object, and the images that stand for it.

    Attributes:
        name: what the tables call it.
        folder: of images and masks; relative to the folder of all sets, or absolute. None: scenes
            are drawn.
        drawn: arguments of `data.sample` for drawn scenes, such as `{"kind": "coins"}`.
        group_by: regular expression; images whose names agree in its first group stay together.

    Raises:
        ValueError: if there is neither a folder nor anything to draw, or both.

    Example:

    >>> Category("my cells", "/home/me/cells").is_drawn
    False
    """

    name: str
    folder: str | None = None
    drawn: Mapping | None = None
    group_by: str | None = None

    def __post_init__(self):
        if (self.folder is None) == (self.drawn is None):
            raise ValueError(
                "a category has either a `folder` or scenes to be `drawn`. Received: "
                f"folder={self.folder!r}, drawn={self.drawn!r} for {self.name!r}"
            )
        if not self.name or not set(self.name) <= NAME_CHARACTERS:
            raise ValueError(
                "a category's name is a folder's too: letters, digits, spaces, - and _. Received: "
                f"name={self.name!r}"
            )

    @property
    def is_drawn(self):
        """Whether its images are made up."""
        return self.folder is None

    def provide(self, data, out):
        """Returns the folder of its images and masks; scenes are drawn if they are not there yet.

        Args:
            data: folder of all sets; None where no category needs it.
            out: the study's folder, which drawn scenes are written below.

        Raises:
            FileNotFoundError: if there is no such folder.
        """
        if self.is_drawn:
            folder = Path(out) / "drawn" / self.name
            if not (folder / "sample.json").exists():
                sample(folder, overwrite=True, **self.drawn)
            return folder
        folder = Path(data or ".") / self.folder
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: images and masks of the category {self.name!r} were wanted here. Give "
                "the folder that holds the sets as `data` (--data), or a category of your own"
            )
        return folder


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of a study: what it is, and what of the common recipe is other for it.

    Attributes:
        name: short, a folder's too.
        label: what the tables call it.
        options: for `build_model`.
        recipe: fields of `Recipe` that differ from the preset's: its loss, its learning rate.
        rival: its name in `benchmark.RIVALS`, by which time and memory are measured; None: they are
            not.

    Raises:
        ValueError: if an option or a field is not known.
    """

    name: str
    label: str
    options: Mapping = dataclasses.field(default_factory=dict)
    recipe: Mapping = dataclasses.field(default_factory=dict)
    rival: str | None = None

    def __post_init__(self):
        architecture = self.options.get("architecture", "deepskip")
        known = find_architecture(architecture).options
        for option in self.options:
            _checks.check_choice("option", option, (*known, "architecture"))
        Recipe(**self.recipe)


@dataclasses.dataclass(frozen=True)
class Preset:
    """How much every run of a study gets.

    Attributes:
        about: in a few words, what it is for and how long it takes.
        categories: names of the categories.
        networks: names of the networks; None takes all.
        seeds: of the split, the weights and the crops; every network has the same.
        steps: training steps of a run.
        steps_of: by network, the steps of one that cannot have so many in the time.
        epochs: rounds that the steps are split in; each is judged on the validation images.
        recipe: other fields of `Recipe`, such as crop and batch.
        test_images: most test images that a run is judged on; None takes all.
    """

    about: str
    categories: tuple
    seeds: tuple
    steps: int
    networks: tuple | None = None
    steps_of: Mapping = dataclasses.field(default_factory=dict)
    epochs: int = 10
    recipe: Mapping = dataclasses.field(default_factory=dict)
    test_images: int | None = None

    def recipe_for(self, network, seed):
        """The `Recipe` of a network's run."""
        steps = self.steps_of.get(network.name, self.steps)
        epochs = min(self.epochs, steps)
        shared = {"patience": None, **self.recipe, **network.recipe}
        return Recipe(epochs=epochs, steps_per_epoch=max(1, steps // epochs), seed=seed, **shared)


@dataclasses.dataclass(frozen=True)
class Study:
    """One table's configuration.

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


def select(what, items, names):
    """The items of these names, in the order of the names; None takes all.

    Raises:
        ValueError: if a name is not known.
    """
    by_name = {item.name: item for item in items}
    chosen = list(by_name) if names is None else names
    return [by_name[_checks.check_choice(what, name, by_name)] for name in chosen]
