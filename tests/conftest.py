"""Fixtures for all tests."""

import gc
import os
import warnings
from pathlib import Path

import pytest

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data():
    """The folder of real images (see its README): `KERAS_DEEPSKIP_DATA`, or beside the repository.

    Where it is absent the test skips, or fails if `KERAS_DEEPSKIP_REQUIRE_DATA` is 1 (as in CI).
    """
    folder = Path(os.environ.get("KERAS_DEEPSKIP_DATA", BESIDE))
    if not folder.is_dir():
        message = f"no real images at {folder}; KERAS_DEEPSKIP_DATA says where they are"
        if os.environ.get("KERAS_DEEPSKIP_REQUIRE_DATA") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session", autouse=True)
def quick_tensorflow():
    """Spares TensorFlow what costs much here and changes no result (two fifths of a short run).

    Graphs that run a few times need no optimization. And where the optimizer makes its variables
    inside the first step, TensorFlow traces that step twice; Keras makes them before it under JAX.
    The notebook runs in a process of its own, without this.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    make = keras.Model.make_train_function

    def make_train_function(self, force=False):
        if self.built and self.optimizer is not None and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        return make(self, force)

    keras.Model.make_train_function = make_train_function


@pytest.fixture
def eager_tensorflow():
    """A few steps of tiny networks take a third of the time that TensorFlow needs to trace them."""
    import keras

    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*run_functions_eagerly.*")  # tf.data is not
        yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="session", autouse=True)
def rare_garbage_collection():
    """Looks for cycles of dead objects seldom: graphs are millions of objects that live on.

    A fifth of the time of the tests of networks went into going through them again and again.
    """
    import keras  # what comes with it stays to the end, and need not be looked at

    assert keras.backend.backend()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 10, 10)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """Surveys of the tests, and of processes that they start, are kept in a folder of their own."""
    before = os.environ.get("KERAS_DEEPSKIP_CACHE")
    os.environ["KERAS_DEEPSKIP_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("KERAS_DEEPSKIP_CACHE")
    if before is not None:
        os.environ["KERAS_DEEPSKIP_CACHE"] = before


def pytest_addoption(parser):
    parser.addoption(
        "--matrix", action="store_true", help="also what is run by hand: all backbones"
    )


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--matrix"):
        skipped = [item for item in items if item.get_closest_marker("matrix")]
        items[:] = [item for item in items if item not in skipped]
        config.hook.pytest_deselected(items=skipped)
