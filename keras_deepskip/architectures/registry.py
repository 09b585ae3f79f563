"""The architectures by name: what each is built by, and what its training needs besides `fit`."""

import collections.abc
import dataclasses
import importlib
import inspect
import sys

from keras_deepskip import _checks
from keras_deepskip.architectures.deepskip_network import deepskip
from keras_deepskip.architectures.unet_network import unet
from keras_deepskip.encoders.saved import STUDIES


class TrainingAdapter:
    """How `fit` trains a network from images to maps. This one trains it as it is.

    A network that learns from more than masks, or that finds more, has an adapter of its own, which
    overrides what differs.
    """

    computes_loss = False  # whether the trained model holds its losses, and is compiled without
    of_objects = False  # whether its datasets say which object each pixel is of

    def fits(self, model):
        """Whether `model` is such a network, or its training form."""
        return True

    def training_form(self, network):
        """Returns what `fit` trains in place of `network`, of the very same layers."""
        return network

    def network(self, trained):
        """Returns the network from images to maps in what `training_form` gave."""
        return trained

    def dataset(self, dataset, ignore_class=None):
        """Returns a dataset of (images, masks) as the training form takes it.

        With `of_objects` it is one of (images, (masks, objects)).
        """
        return dataset

    def object_finder(self, network):
        """Returns what tells objects of `network` apart; None if its masks are all that it finds.

        It is a function of an image (H, W, C) that gives one of the threshold of its mask, which
        gives numbers of objects (H, W), 0 for none.
        """
        return None

    def inputs(self, images):
        """Returns images (N, H, W, C) as the training form takes them in `predict`."""
        return images

    def callbacks(self):
        """Returns the callbacks that its training needs."""
        return []


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One entry of the registry.

    Attributes:
        build: function of a `Frame` and options that returns the network.
        adapter: its `TrainingAdapter`.
        rules: for `analysis`: a dict from the name of a layer that only this network has to its
            rule (see `analysis.RULES`).
    """

    build: collections.abc.Callable
    adapter: TrainingAdapter = TrainingAdapter()
    rules: collections.abc.Mapping = dataclasses.field(default_factory=dict)

    @property
    def options(self):
        """The options that the network has of its own, and their defaults."""
        parameters = inspect.signature(self.build).parameters.values()
        return {p.name: p.default for p in parameters if p.name not in ("frame", "name")}


# A text names the module whose `RIVALS` hold the entry: it is loaded when it is asked for.
ARCHITECTURES = {
    "deepskip": Architecture(deepskip),
    "unet": Architecture(unet),
    **dict.fromkeys(("unet3plus", "fcn8s", "pspnet", "h_denseunet", "mask_rcnn"), STUDIES),
    **dict.fromkeys(("hub_deeplab", "smp"), STUDIES),  # networks of other packages
}


def find_architecture(name):
    """Returns the `Architecture` of a name in `ARCHITECTURES`; loads its module if need be.

    Raises:
        ValueError: if there is none of this name; the error lists the names.
        ImportError: if it belongs to the studies, and these are not installed.

    Example:

    >>> find_architecture("deepskip").options["skips"]
    'deep'
    """
    entry = ARCHITECTURES[_checks.check_choice("architecture", name, ARCHITECTURES)]
    return _loaded(name, entry).RIVALS[name] if isinstance(entry, str) else entry


def _loaded(name, module):
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise  # the studies are there, and lack something themselves
        raise ImportError(
            f"architecture={name!r} belongs to the studies (keras_deepskip.studies), which are not "
            "installed. Install the whole package, or take architecture='deepskip' or 'unet'"
        ) from error


def adapter_of(model):
    """Returns the `TrainingAdapter` of a model; one of another origin is trained as it is.

    Example:

    >>> adapter_of(keras_deepskip.build_model()).computes_loss
    False
    """
    # A network of a module that is not loaded cannot be here.
    loaded = sys.modules.get(STUDIES)
    special = (entry.adapter for entry in loaded.RIVALS.values()) if loaded else ()
    plain = TrainingAdapter()
    own = (adapter for adapter in special if type(adapter) is not TrainingAdapter)
    return next((adapter for adapter in own if adapter.fits(model)), plain)
