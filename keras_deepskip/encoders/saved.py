"""Models in `.keras` files, which may come from anywhere: checked, then loaded without code."""

import contextlib
import importlib
import json
import re
import zipfile
from pathlib import PurePosixPath

import keras

MAX_CONFIG_BYTES = 64 * 2**20  # of the description of a network; that of 1,000 layers takes 1 MiB
MAX_EXPANSION = 20  # Keras stores without compression; weights that are packed halve at best
EXPANSION_FLOOR = 64 * 2**20  # bytes that a file may unpack to whatever its own size
STUDIES = "keras_deepskip.studies.rivals"  # the module of layers that are loaded when a file asks


def read_keras_file(path, compile=True):
    """Loads a model from a `.keras` file, in Keras's safe mode.

    No code of the file is run: layers that carry Python code are refused, and classes and functions
    are those of Keras, KerasHub, KerasCV, or registered by `keras.saving` in this process. Before
    Keras opens it, the archive is checked: what it claims to unpack to, and where.

    Args:
        path: a `.keras` file.
        compile: whether a model that was compiled is so again.

    Returns:
        The `keras.Model`.

    Raises:
        ValueError: if the file is damaged, claims too much, holds code, or things that are not
            known here; it names the file and the cause.

    Example:

    ```python
    network = read_keras_file(Path("runs/first/model.keras"), compile=False)
    ```
    """
    try:
        _check_archive(path)
        _register(path)
        model = keras.models.load_model(path, compile=compile, safe_mode=True)
        if not isinstance(model, keras.Model):
            raise ValueError(f"a model was expected. Received: {type(model).__name__}")
        return model
    except Exception as error:  # what a broken or hostile file makes Keras raise has no bounds
        raise ValueError(f"{path}: the model in it could not be read: {_cause(error)}") from error


def _check_archive(path):
    """Refuses an archive that claims too much, or files beside or above its folder."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    for member in members:
        name = member.filename
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or name.startswith(("/", "\\")) or ":" in name:
            raise ValueError(
                f"files inside the archive's own folder were expected. Received: one named {name!r}"
            )
        if name == "config.json" and member.file_size > MAX_CONFIG_BYTES:
            raise ValueError(
                f"a config.json of at most {MAX_CONFIG_BYTES:,} bytes was expected. Received: one "
                f"of {member.file_size:,}"
            )
    size, claimed = path.stat().st_size, sum(member.file_size for member in members)
    if claimed > max(EXPANSION_FLOOR, MAX_EXPANSION * size):
        raise ValueError(
            f"an archive that unpacks to at most {MAX_EXPANSION} times its size was expected. "
            f"Received: {size:,} bytes that claim to be {claimed:,}. If you trust it, save it "
            "again with model.save, which does not compress"
        )


def _register(path):
    """Loads the classes of this package, and the studies' if the file has any that are not here."""
    from keras_deepskip import layers, losses, metrics  # noqa: F401  (they register)

    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json").decode()
    names = set(re.findall(r'"registered_name": "(keras_deepskip>\w+)"', config))
    if any(keras.saving.get_registered_object(name) is None for name in names):
        with contextlib.suppress(ImportError):  # then Keras says which layer it lacks
            importlib.import_module(STUDIES)


def _cause(error):
    """Why Keras refused a file, in a few words: its messages may quote the whole network."""
    if isinstance(error, json.JSONDecodeError | RecursionError):
        return f"its config.json is broken ({error})"
    text = str(error) or type(error).__name__
    if "safe_mode" in text:
        return (
            "it holds Python code, such as a Lambda layer, and code that comes with a file is not "
            "run. Save it again with layers of Keras, or with a class registered by "
            "keras.saving.register_keras_serializable in place of the code"
        )
    if "Could not locate" in text or "Could not deserialize" in text:
        text = text.partition("Full object config")[0].strip()
    return text if len(text) <= 600 else f"{text[:600]} ..."
