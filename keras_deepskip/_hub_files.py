"""Addresses of models on the Hugging Face Hub, and their files: `hf://user/name@revision`."""

import dataclasses
import re
from pathlib import Path

from keras_deepskip._checks import require

SCHEME = "hf://"
MODEL = "model.keras"
PIP = '"keras-deepskip[hub]"'
ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?/?")


@dataclasses.dataclass(frozen=True)
class HubAddress:
    """Where a model is.

    Attributes:
        repo: `user/name`.
        revision: a branch, a tag or a commit; None is the newest of the main branch.
    """

    repo: str
    revision: str | None = None

    def __str__(self):
        return f"{SCHEME}{self.repo}" + (f"@{self.revision}" if self.revision else "")


def is_hub_address(path: object) -> bool:
    """Whether a path is an address of the hub."""
    return str(path).startswith(SCHEME)


def hub_address(text: object) -> HubAddress:
    """Reads an address.

    Raises:
        ValueError: if it is none.

    Example:

    >>> hub_address("hf://lab/lesions@v2").revision
    'v2'
    """
    match = ADDRESS.fullmatch(str(text))
    if not match:
        raise ValueError(
            "the address of a model on the hub is hf://USER/NAME or hf://USER/NAME@REVISION. "
            f"Received: {str(text)!r}"
        )
    return HubAddress(match[1], match[2])


def fetch_model(text: object) -> Path:
    """Returns the path of the model of an address in the hub's cache, fetched if it is not there.

    Raises:
        ImportError: if huggingface_hub is not installed.
        ValueError: if the text is no address.
        FileNotFoundError: if there is no such model, or no such revision of it.
        ConnectionError: if the hub does not answer, and the cache does not hold the model.
    """
    address = hub_address(text)
    hub = require("huggingface_hub", PIP, "a model of the hub")
    from huggingface_hub import errors

    try:
        return Path(hub.hf_hub_download(address.repo, MODEL, revision=address.revision))
    # One without access is told as one that is not there.
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise FileNotFoundError(
            f"{address}: no such model or revision on the hub, or none that you may see. Check "
            "the name; for a private one log in: hf auth login"
        ) from error
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise ConnectionError(
                f"{address}: the hub could not be reached, and the model is not in its cache "
                f"({error}). Connect, and try again"
            ) from error
        raise FileNotFoundError(
            f"{address}: a {MODEL} of keras_deepskip was expected there. Received: a repository "
            "without one. Models of Keras's own kind are loaded by keras.saving.load_model"
        ) from error
