"""Which images `predict` is asked for, and what they are called."""

import collections
import functools
import glob
import os
from pathlib import Path

from keras_deepskip.data import Sample, find_images
from keras_deepskip.data.folder import image_files
from keras_deepskip.data.stores import is_address, listed_lines, local_images
from keras_deepskip.inference.zarrs import is_zarr, zarr_name

LIST = ".txt"  # suffix of a file with a path a line


def chosen_images(images, out, verbose=0):
    """Finds images and names them: by their files, or by their paths where files share a name.

    Args:
        images: as in `predict`; a list may also hold `Sample`s, which are taken as they are.
        out: the folder that results go to, in which no image is looked for.
        verbose: 0 shows nothing of images that are fetched from a store.

    Returns:
        A list of `Sample`, each of a name of its own, in the order of the sources and, in each of
        these, of the names. A file that several sources name is there once.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if there is no image, if two share a name, or if `out` is a folder of images.
    """
    sources = images if isinstance(images, list | tuple) else [images]
    samples = _once(sample for source in sources for sample in _found(source, out, verbose))
    if not samples:
        raise ValueError("`images` must hold at least one image. Received: none")
    names = collections.Counter(sample.name for sample in samples)
    if len(names) < len(samples):
        samples = _named_by_path(samples)
    _refuse_same_names(samples)
    _refuse_data_folder(out, samples)
    return samples


def _once(samples):
    """The samples without those of a file that came before, by whatever path to its folder."""
    resolved = functools.cache(Path.resolve)
    found = {}
    for sample in samples:
        found.setdefault((resolved(sample.image.parent), sample.image.name), sample)
    return list(found.values())


def _found(source, out, verbose=0):
    """The images of a folder, list, pattern or address; a file or a Zarr array is an image."""
    if isinstance(source, Sample):
        return [source]
    if is_address(source):
        return [each for path in local_images(source, verbose) for each in find_images(path)]
    path = Path(source)
    if glob.has_magic(str(source)) and not path.exists():
        paths = sorted(glob.glob(str(source), recursive=True))
        if not paths:
            raise FileNotFoundError(f"{source}: no file or folder has such a path")
        return [sample for path in paths for sample in _found(path, out)]
    if path.suffix.lower() == LIST and path.is_file():
        listed = [path.parent / line for line in listed_lines(path)]
        if not listed:
            raise ValueError(f"{path}: a path of an image a line was expected. Received: none")
        return [sample for each in listed for sample in _found(each, out)]
    if is_zarr(source):
        return [Sample(zarr_name(path), path)]
    return (path.is_dir() and _below(path, out)) or find_images(source)


def _below(folder, out):
    """The images in the folders of a folder that has no image itself, named by their paths.

    Beside a folder `images/` others hold masks and the like.
    """
    inner = folder / "images"
    start = inner if inner.is_dir() else folder
    if image_files(start)[0]:
        return []
    found = []
    for place, folders, _ in os.walk(start):
        if "images" in folders:
            folders[:] = ["images"]
            continue
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and not is_zarr(Path(place, name))
            and Path(place, name).resolve() != Path(out).resolve()
        ]
        found += image_files(Path(place))[0]
    named = [(path.relative_to(start).with_suffix("").as_posix(), path) for path in found]
    return [Sample(name, path, None, name) for name, path in sorted(named)]


def _named_by_path(samples):
    """The samples with the folders in their names that they do not all lie in."""
    folders = [os.path.abspath(sample.image.parent) for sample in samples]
    common = os.path.commonpath(folders)
    return [
        Sample(Path(os.path.relpath(folder, common), sample.name).as_posix(), sample.image)
        for sample, folder in zip(samples, folders, strict=True)
    ]


def _refuse_same_names(samples):
    names = collections.Counter(sample.name for sample in samples)
    doubled = sorted(name for name, count in names.items() if count > 1)
    if doubled:
        raise ValueError(
            "each image's files are named after it, and several images share a name. Received: "
            f"{', '.join(doubled[:5])}. Rename them, or predict them one by one"
        )


def _refuse_data_folder(out, samples):
    """Masks made by hand must not be overwritten: `out/masks` may be the true masks."""
    folders = {folder.resolve() for folder in {sample.image.parent for sample in samples}}
    if out.resolve() in folders or (out / "images").is_dir():
        raise ValueError(
            "`out` must be a folder of its own, as masks/ would be written over. Received: "
            f"out={str(out)!r}, a folder of images. Choose another"
        )
