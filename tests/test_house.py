"""The plan of the house: floors, no cycles, optional packages imported where they are used."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "keras_deepskip"

# A floor imports lower floors, and within itself only what its own folder holds.
FLOORS = {
    "_versions": 0, "_checks": 0, "_files": 0, "_tables": 0, "_processes": 0, "tiling": 0,
    "_progress": 0, "_graphs": 0, "_docstrings": 0, "_backend": 0, "_hub_files": 0,
    "objects": 0, "analysis": 0,
    "_labels": 0, "_sizes": 0,
    "layers": 1, "losses": 1, "metrics": 1,
    "encoders": 2, "data": 2, "drawing": 2, "folding": 2, "operating_point": 2,
    "architectures": 3,
    "models": 4,
    "inference": 5, "export": 5,
    "training": 6, "reporting": 6,
    "demo": 7, "quantization": 7, "hub": 7,
    "studies": 8,
    "cli": 9,
    "__init__": 10,
}  # fmt: skip
ALLOWED_AT_TOP = {"keras", "numpy", "keras_deepskip", *sys.stdlib_module_names}
# `_checks` and its kin serve each other at floor 0; drawing sits on metrics.
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path):
    """The module or folder of the house that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path, top_level_only=False):
    """Dotted names that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.one_backend
@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down(path):
    own = room(path)
    assert own in FLOORS, f"{own} has no floor yet: add it to FLOORS and to the plan"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "keras":
            assert parts[1:2] != ["src"], f"{path} imports private {name}"
        if parts[0] != "keras_deepskip":
            continue
        assert len(parts) > 1, f"{path} imports the whole package: import the module that it uses"
        other = parts[1] if parts[1] in FLOORS else "__init__"
        if other == own:
            continue
        lower = FLOORS[other] < FLOORS[own] or (FLOORS[other] == FLOORS[own] == 0)
        if own == "cli" and other == "__init__":
            continue  # the command line uses the public face
        assert lower, f"{own} (floor {FLOORS[own]}) imports {other} (floor {FLOORS[other]})"


CORE = [path for path in FILES if room(path) not in ("studies", "cli")]


@pytest.mark.one_backend
@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_core_does_not_import_the_studies(path):
    """The registry and `load_model` find them by the one string in encoders/saved.py."""
    assert not [name for name in imported(path) if "studies" in name.split(".")]
    named = "keras_deepskip.studies" in path.read_text(encoding="utf-8")
    assert not named or path.relative_to(PACKAGE).as_posix() in (
        "encoders/saved.py",
        "architectures/registry.py",  # in the error where they are not installed
    )


@pytest.mark.one_backend
@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_keras_and_numpy_at_module_level(path):
    for name in imported(path, top_level_only=True):
        assert name.split(".")[0] in ALLOWED_AT_TOP, (
            f"{path} imports {name} at module level: import it inside the function that uses it"
        )


@pytest.mark.one_backend
@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_print_and_no_assert_in_the_library(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}: raise an error for users"
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print":
            assert room(path) in ("cli", "demo"), f"{path}:{node.lineno}: a library is silent"


PLUGIN = sorted((PACKAGE.parent / "keras_deepskip_napari").glob("*.py"))
WINDOW = {"magicgui", "napari", "qtpy"}


@pytest.mark.one_backend
@pytest.mark.parametrize("path", PLUGIN, ids=lambda p: p.name)
def test_napari_waits_for_no_backend(path):
    """The plugin imports the package inside functions, and its widgets alone know a window."""
    named = {name.split(".")[0] for name in imported(path, top_level_only=True)}
    allowed = {"numpy", "keras_deepskip_napari", *sys.stdlib_module_names}
    assert named <= allowed | (WINDOW if path.name == "widgets.py" else set())
    assert path.name == "widgets.py" or not WINDOW & {n.split(".")[0] for n in imported(path)}


@pytest.mark.one_backend
@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_package_does_not_know_the_plugin(path):
    assert not [name for name in imported(path) if name.startswith("keras_deepskip_napari")]


@pytest.mark.one_backend
def test_no_cycles_between_files():
    names = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p for p in FILES}
    graph = {}
    for name, path in names.items():
        used = set()
        for target in imported(path):  # those inside functions count too
            for candidate in (target, target.rpartition(".")[0], f"{target}.__init__"):
                if candidate in names and candidate != name:
                    used.add(candidate)
        graph[name] = used
    done, path = set(), []

    def visit(name):
        if name in done:
            return
        assert name not in path, f"cycle: {' -> '.join([*path, name])}"
        path.append(name)
        for target in sorted(graph[name]):
            visit(target)
        done.add(path.pop())

    for name in sorted(graph):
        visit(name)


def test_import_is_lean():
    """Neither another backend's framework nor any optional package comes with the import."""
    code = (
        "import sys, keras; before = set(sys.modules); import keras_deepskip; "
        "added = {m.partition('.')[0] for m in set(sys.modules) - before}; "
        "heavy = {'tensorflow', 'jax', 'torch', 'scipy', 'PIL', 'tifffile', 'imagecodecs', "
        "'matplotlib', 'altair', 'jinja2', 'shapely', 'vl_convert', 'skimage', 'tensorboardX', "
        "'tensorboard', 'pycocotools', 'keras_cv', "
        "'cv2', 'zarr', 'dask', 'onnx', 'onnxruntime', 'openvino'}; "
        "print(sorted(added & heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_only_the_backend_in_use_is_imported():
    """TensorFlow stays out when the backend is another."""
    code = (
        "import keras, keras_deepskip, sys; backend = keras.backend.backend(); "
        "others = {'tensorflow', 'torch'} - {backend}; print(sorted(others & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


WITHOUT_STUDIES = """
import importlib, pathlib, sys

# an editable install would find the deleted modules at its own place
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]
import numpy as np
import keras, keras_deepskip

root = pathlib.Path(keras_deepskip.__file__).parent
assert root.parent == pathlib.Path.cwd() and not (root / "studies").exists()
for path in sorted(root.rglob("*.py")):
    parts = path.relative_to(root.parent).with_suffix("").parts
    importlib.import_module(".".join(parts).removesuffix(".__init__"))
model = keras_deepskip.build_model((None, None, 1), levels=2, base_filters=2)
model.compile("adam", keras_deepskip.losses.SmallObjectLoss())
x, y = np.zeros((2, 16, 16, 1), "uint8"), np.ones((2, 16, 16, 1), "uint8")
model.fit(x, y, verbose=0)
assert np.isfinite(model.evaluate(x, y, verbose=0))
model.save("model.keras")
again = keras_deepskip.load_model("model.keras")
np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
assert keras_deepskip.analysis.receptive_field(model).size > 1
assert not keras_deepskip.architectures.adapter_of(model).computes_loss
try:
    keras_deepskip.build_model(architecture="unet3plus")
except ImportError as error:
    assert "studies" in str(error) and "not installed" in str(error), error
else:
    raise AssertionError("no error")
"""


@pytest.mark.one_backend
def test_the_core_works_without_the_studies(tmp_path):
    """In a copy of the package whose wing is deleted."""
    shutil.copytree(
        PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("studies", "__pycache__")
    )
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_STUDIES], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]


LOADED_ALONE = """
import sys
import keras_deepskip

assert "keras_deepskip.studies.rivals" not in sys.modules
print(keras_deepskip.load_model(sys.argv[1]).output_shape)
"""


@pytest.mark.studies
@pytest.mark.parametrize(
    "options",
    [
        {"architecture": "mask_rcnn", "fpn_filters": 8, "fc_units": 8, "mask_filters": 8},
        {"architecture": "pspnet", "pyramid_filters": 8},
    ],
    ids=lambda options: options["architecture"],
)
def test_a_file_brings_the_layers_of_the_studies_in(options, tmp_path):
    from keras_deepskip.models import build_model

    model = build_model((None, None, 1), backbone="light_resnet34", **options)
    model.save(tmp_path / "model.keras")
    done = subprocess.run(
        [sys.executable, "-c", LOADED_ALONE, str(tmp_path / "model.keras")],
        capture_output=True, text=True, cwd=PACKAGE.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().splitlines()[-1] == str(model.output_shape)
