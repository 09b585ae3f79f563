"""Sets of scenes: in memory, or as a data folder."""

import inspect
from pathlib import Path

import numpy as np

from keras_deepskip._checks import check_choice, check_integer
from keras_deepskip._files import replacing_folder, write_json
from keras_deepskip.data.synthetic.composition import check_scene, draw_scene
from keras_deepskip.data.synthetic.kinds import KINDS, MIXED, class_names


def scenes(kind="microorganisms", images=8, seed=0, **arguments):
    """Returns synthetic scenes as arrays: the images that `sample` writes.

    Args:
        kind: a name in `KINDS`, or `"mixed"` for each of them in turn.
        images: how many images.
        seed: whole number; image `i` depends on the seed and `i`, not on how many there are.
        **arguments: `height`, `width`, `count`, `size`, `contrast`, `clutter`, `classes`, as in
            `draw_scene`.

    Returns:
        Images, uint8 `(images, height, width, 3)`, and masks, int32 `(images, height, width, 1)`.

    Raises:
        ValueError: for arguments out of range, or unknown ones.

    Example:

    >>> pictures, masks = scenes("fish", images=2, height=64, width=96, count=(1, 3))
    >>> pictures.shape, masks.shape
    ((2, 64, 96, 3), (2, 64, 96, 1))
    """
    made = list(_scenes(*_check_sample(kind, images, seed, arguments)))
    pictures, masks = zip(*made, strict=True)
    return np.stack(pictures), np.stack(masks)[..., None].astype("int32")


def sample(out, kind="microorganisms", images=40, seed=0, overwrite=False, **arguments):
    """Writes a data folder of synthetic scenes: `images/`, `masks/` and `sample.json`.

    The masks are PNGs of plain ids (0 is the background); `sample.json` holds all arguments and the
    names of the classes. The folder is written atomically.

    Args:
        out: the folder to make.
        kind: kind of the objects: `"microorganisms"`, `"coins"`, `"lesions"`, `"fish"`,
            `"pedestrians"` or `"vehicles"`, or `"mixed"` for each of them in turn. `KINDS` has the
            names.
        images: how many images.
        seed: whole number; the same seed gives the same bytes, and a larger sample begins with the
            images of a smaller one.
        overwrite: whether a folder that has something in it is replaced; its content is then lost.
        **arguments: `height`, `width`, `count`, `size`, `contrast`, `clutter`, `classes`, as in
            `draw_scene`.

    Returns:
        The path of the folder.

    Raises:
        FileExistsError: if `out` is a file, or a folder with something in it and `overwrite` is
            False.
        ValueError: for arguments out of range, or unknown ones.

    Example:

    ```python
    folder = sample("coins", kind="coins", images=12, height=128, width=128, count=(2, 6))
    ```
    """
    from PIL import Image

    out = Path(out)
    kind, images, seed, settings = _check_sample(kind, images, seed, arguments)
    _check_vacant(out, overwrite)
    with replacing_folder(out) as folder:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        for i, (image, mask) in enumerate(_scenes(kind, images, seed, settings)):
            Image.fromarray(image).save(folder / "images" / f"{i:04d}.png")
            Image.fromarray(mask).save(folder / "masks" / f"{i:04d}.png")
        note = {"kind": kind, "images": images, "seed": seed, **settings}
        note["class_names"] = ["background", *class_names(kind, settings["classes"])]
        write_json(folder / "sample.json", note)
    return out


def _scenes(kind, images, seed, settings):
    """Yields scene after scene, each from a generator of its own."""
    cycle = list(KINDS) if kind == MIXED else [kind]
    for i in range(images):
        yield draw_scene(cycle[i % len(cycle)], np.random.default_rng([seed, i]), **settings)


def _check_sample(kind, images, seed, arguments):
    """Checks all before any scene is made; returns them with the scene arguments' defaults."""
    check_choice("kind", kind, (*KINDS, MIXED))
    parameters = inspect.signature(draw_scene).parameters.values()
    settings = {p.name: p.default for p in parameters if p.default is not p.empty}
    for name in arguments:
        check_choice("scene argument", name, settings)
    settings |= arguments
    check_scene(**settings)
    return kind, check_integer("images", images), check_integer("seed", seed, 0), settings


def _check_vacant(out, overwrite):
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"`out` must be a folder or new. Received: out={str(out)!r}, a file")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise FileExistsError(
            f"`out` must be new or empty. Received: out={str(out)!r}, which holds files. Choose "
            "another folder, or replace it with overwrite=True"
        )
