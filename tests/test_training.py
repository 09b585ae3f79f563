"""`train`: what it leaves, what it refuses, what happens in its course."""

import csv
import dataclasses
import errno
import importlib.util
import json
import math
import os

import keras
import numpy as np
import pytest

from keras_deepskip import build_model, load_model
from keras_deepskip._versions import versions
from keras_deepskip.data import MaskReading, load_split, read_image, split_to_json
from keras_deepskip.inference import evaluate
from keras_deepskip.training import (
    Checkpoint,
    Recipe,
    SeedEpochs,
    StopOnNaN,
    TensorBoardLogger,
    TrainingDiverged,
    train,
)
from keras_deepskip.training.callbacks import seed_generators
from keras_deepskip.training.compiling import build, compile_stage
from tests import tiny


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def small_model(**options):
    model = build_model((None, None, 3), levels=2, base_filters=2, **options)
    model.compile("adam", "binary_crossentropy")
    return model


# ---- What a run leaves ---------------------------------------------------------------------------


def test_the_folder_of_a_run_holds_what_repeats_it():
    run = tiny.run()
    assert {path.name for path in run.folder.iterdir()} == {
        "audit.json", "training_state", "config.json", "history.csv", "images.json", "logs",
        "model.keras", "operating_point.json", "plan.json", "split.json",
    }  # fmt: skip
    assert sorted(path.name for path in (run.folder / "training_state").iterdir()) == [
        "epoch-0003.keras",
        "state.json",
    ]
    config = json.loads((run.folder / "config.json").read_text())
    assert config["folder"] == str(tiny.data().resolve())
    assert config["recipe"] == tiny.RECIPE.to_dict()
    assert tiny.MODEL.items() <= config["model"].items()
    assert config["model"]["own"] is False and config["model"]["backbone"] == "light_vgg16"
    assert config["facts"]["channels"] == 3 and config["facts"]["num_classes"] == 1
    assert config["facts"]["input_range"] == [0, 255]
    assert config["versions"] == versions()
    assert config["versions"]["backend"] == keras.backend.backend()
    split = load_split(tiny.data(), run.folder / "split.json")
    assert split_to_json(split) == split_to_json(run.split)
    assert json.loads((run.folder / "audit.json").read_text())["ok"] is True


def test_normalization_is_that_of_the_training_images():
    run = tiny.run()
    pixels = np.concatenate(
        [np.asarray(keras.utils.load_img(s.image)).reshape(-1, 3) for s in run.split.train]
    ).astype("float64")
    facts = json.loads((run.folder / "config.json").read_text())["facts"]
    np.testing.assert_allclose(facts["mean"], pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(facts["variance"], pixels.var(axis=0), rtol=1e-6)
    config = run.model.get_layer("normalize").get_config()
    np.testing.assert_allclose(np.ravel(config["mean"]), facts["mean"], rtol=1e-6)


def test_history_has_a_line_an_epoch_and_no_nan():
    run = tiny.run()
    lines = rows_of(run.folder / "history.csv")
    assert [line["epoch"] for line in lines] == ["1", "2", "3"]
    for line, row in zip(lines, run.history, strict=True):
        for name, value in row.items():
            assert line[name] == ("" if value is None else str(value))
            assert value is None or math.isfinite(value)
    # objects of 16 px at most: no object of the two largest strata, so no figure
    assert run.history[-1]["val_object_recall_from_32x32"] is None
    assert {"loss", "val_loss", "val_iou", "val_object_f1", "seconds"} <= set(run.history[0])


def test_the_model_that_is_kept_is_that_of_the_best_epoch():
    run = tiny.run()
    orders = [(row["val_iou"], -row["val_loss"]) for row in run.history]
    assert run.best_epoch == 1 + orders.index(max(orders))
    best, last = run.model, load_model(run.folder / "training_state" / "epoch-0003.keras")
    equal = all(
        np.array_equal(a, b) for a, b in zip(best.get_weights(), last.get_weights(), strict=True)
    )
    assert equal == (run.best_epoch == 3)
    assert best.optimizer.iterations == 2 * run.best_epoch


def test_every_recipe_field_reaches_the_configuration():
    config = json.loads((tiny.run().folder / "config.json").read_text())
    assert set(config["recipe"]) == {field.name for field in dataclasses.fields(Recipe)}


# ---- What is refused -----------------------------------------------------------------------------


def test_a_folder_that_holds_a_run_is_refused():
    with pytest.raises(ValueError, match="already holds a training run.*--resume"):
        train(tiny.data(), tiny.run().folder, tiny.RECIPE, verbose=0, **tiny.MODEL)


def test_nothing_to_resume(tmp_path):
    with pytest.raises(ValueError, match="holds no run to resume"):
        train(tiny.data(), tmp_path, tiny.RECIPE, resume=True)


def test_resume_with_other_arguments_names_them():
    other = dataclasses.replace(tiny.RECIPE, batch_size=3, workers=2)  # workers change no result
    with pytest.raises(ValueError, match=r"batch_size=3 \(was 2\), levels=3 \(was 2\)\. Leave"):
        train(tiny.data(), tiny.run().folder, other, resume=True, **{**tiny.MODEL, "levels": 3})
    with pytest.raises(ValueError, match=r"ignore_class=7 \(was None\)\. Leave"):
        train(
            tiny.data(),
            tiny.run().folder,
            tiny.RECIPE,
            resume=True,
            masks=MaskReading(ignore_class=7),
            **tiny.MODEL,
        )


@pytest.mark.parametrize(
    "options, words",
    [
        ({"multilabel": True}, "one class id a pixel.*multilabel=True"),
        ({"activation": None}, "probabilities. Received: activation=None"),
        ({"levels": 0}, "`levels` must be an integer of at least 2"),
        ({"level": 3}, "`option` must be one of .*Did you mean 'levels'"),
        ({"architecture": "unett"}, "`architecture` must be one of .*Did you mean 'unet'"),
    ],
)
def test_options_that_cannot_be_trained(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        train(tiny.data(), tmp_path / "run", tiny.RECIPE, **options)
    assert not (tmp_path / "run").exists()


def test_bad_data_are_told_in_a_line_and_nothing_is_written(tmp_path):
    for number in range(5):
        tiny.put(tmp_path / "data", f"n{number}", np.full((8, 8), number), np.eye(8) * (3 + number))
    words = r"n1.png: class ids 0 to 3 .*; and 1 errors more\. .*keras-deepskip audit"
    with pytest.raises(ValueError, match=words) as caught:
        train(tmp_path / "data", tmp_path / "run", masks=MaskReading(4))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_split_without_validation_images_is_refused(tmp_path):
    names = [f"{number:04d}" for number in range(8)]
    split = {"train": names[:6], "val": [], "test": names[6:]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    with pytest.raises(ValueError, match="has images to validate on"):
        train(tiny.data(), tmp_path / "run", tiny.RECIPE, split_file=tmp_path / "split.json")


def model_of_scores():
    """Scores that are no probabilities, whatever the random weights are."""
    model = small_model(activation=None)
    *_, kernel, bias = (weight for weight in model.trainable_weights)
    bias.assign([5.0])
    kernel.assign(0 * kernel)
    return model


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: keras.Sequential(), "`model` must be built"),
        (lambda: build_model((64, 64, 3), levels=2, base_filters=2), "crops of the recipe's size"),
        (lambda: small_model(num_classes=3), "`num_classes` must be that of `model`, 3"),
        (lambda: model_of_scores(), "outputs are probabilities in .0, 1"),
    ],
)
def test_a_model_of_ones_own_that_does_not_fit(tmp_path, make, words):
    with pytest.raises(ValueError, match=words):
        train(tiny.data(), tmp_path / "run", tiny.RECIPE, model=make(), masks=MaskReading(1))
    assert not (tmp_path / "run").exists()


def test_a_model_of_ones_own_keeps_the_precision_that_it_was_built_with():
    recipe = dataclasses.replace(tiny.RECIPE, precision="mixed_bfloat16")
    with pytest.raises(ValueError, match="`precision` must be that of `model`, float32"):
        train(tiny.data(), "run", recipe, model=tiny.bright_model())


def test_a_model_of_ones_own_and_options_to_build_one():
    with pytest.raises(ValueError, match="none to build. Received also: levels"):
        train(tiny.data(), "run", tiny.RECIPE, model=tiny.bright_model(), levels=2)


# ---- A model of one's own, and the user's callbacks ----------------------------------------------


def test_a_model_of_ones_own_is_trained(tmp_path):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    outputs = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
    model = keras.Model(inputs, outputs)
    before = model.get_weights()
    seen = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(dict(logs)))
    recipe = dataclasses.replace(tiny.RECIPE, epochs=1, augment=False, patience=None)
    run = train(tiny.data(), tmp_path / "run", recipe, model=model, callbacks=[watch], verbose=0)
    assert np.abs(run.model.get_weights()[0] - before[0]).max() > 0
    assert "val_object_f1" in seen[0]  # the user's callbacks see all figures
    assert json.loads((run.folder / "config.json").read_text())["model"] == {"own": True}


# ---- The callbacks -------------------------------------------------------------------------------


def test_stop_on_nan_names_epoch_and_step():
    stop = StopOnNaN()
    stop.on_epoch_begin(0)
    stop.on_train_batch_end(0, {"loss": 1.0})
    with pytest.raises(TrainingDiverged, match="nan in epoch 1, step 2. No epoch was finished"):
        stop.on_train_batch_end(1, {"loss": float("nan")})
    stop.on_epoch_begin(3)
    with pytest.raises(
        TrainingDiverged, match="inf in epoch 4, step 1. The weights of epoch 3 are"
    ):
        stop.on_train_batch_end(0, {"loss": float("inf")})
    with pytest.raises(TrainingDiverged, match="validation's loss became nan in epoch 4"):
        stop.on_epoch_end(3, {"loss": 1.0, "val_loss": float("nan")})


def kept(folder, epochs, patience=None, model=None):
    """A `Checkpoint` after epochs with these (val_iou, val_loss)."""
    checkpoint = Checkpoint(folder, patience=patience)
    checkpoint.set_model(model or small_model())
    checkpoint.model.stop_training = False
    for epoch, (iou, loss) in enumerate(epochs):
        checkpoint.on_epoch_begin(epoch)
        checkpoint.on_epoch_end(epoch, {"val_score": iou, "val_loss": loss})
    return checkpoint


def test_patience_counts_epochs_without_a_better_one(tmp_path):
    worse = [(0.5, 1.0), (0.4, 1.0), (0.5, 1.0)]
    assert kept(tmp_path / "a", worse, patience=2).model.stop_training
    assert not kept(tmp_path / "b", worse, patience=3).model.stop_training
    assert not kept(tmp_path / "c", worse).model.stop_training
    # As long as nothing is found, a falling loss is getting better.
    falling = kept(tmp_path / "d", [(0.0, 3.0), (0.0, 2.0), (0.0, 1.0)], patience=1)
    assert not falling.model.stop_training and falling.state["best_epoch"] == 3


def test_patience_counts_from_the_begin_of_a_stage(tmp_path):
    """What was best before, with a frozen backbone, leaves the stage its time."""
    checkpoint = kept(tmp_path, [(0.5, 1.0), (0.4, 1.0), (0.4, 1.0)])
    checkpoint.begin, checkpoint.patience = 3, 2
    for epoch in (3, 4):
        checkpoint.on_epoch_begin(epoch)
        checkpoint.on_epoch_end(epoch, {"val_score": 0.45, "val_loss": 1.0})
        assert checkpoint.state["stopped"] == (epoch == 4)


def test_a_figure_that_is_no_number_is_never_the_best(tmp_path):
    state = kept(tmp_path, [(math.nan, 1.0), (0.1, 1.0), (math.nan, 0.1)]).state
    assert state["best_epoch"] == 2 and state["best"] == 0.1
    assert [row["val_score"] for row in state["rows"]] == [None, 0.1, None]
    assert (tmp_path / "model.keras").exists()
    assert json.loads((tmp_path / "training_state" / "state.json").read_text()) == state


def test_history_takes_figures_that_come_and_go(tmp_path):
    checkpoint = kept(tmp_path, [(0.1, 1.0)])
    checkpoint.on_epoch_begin(1)
    checkpoint.on_epoch_end(1, {"val_score": 0.2, "extra": 3.0})
    lines = rows_of(tmp_path / "history.csv")
    assert [line["extra"] for line in lines] == ["", "3.0"]
    assert [line["val_loss"] for line in lines] == ["1.0", ""]


def test_a_kill_at_any_write_leaves_the_last_whole_epoch(tmp_path, monkeypatch):
    """Each epoch renames four files into place; death comes before each of them.

    The last is the best model, which is made anew of an epoch that the state names as the best.
    """
    model = small_model()
    first = [weight.copy() for weight in model.get_weights()]
    for deadly in range(4):
        folder = tmp_path / str(deadly)
        model.set_weights(first)
        checkpoint = kept(folder, [(0.1, 1.0)], model=model)
        model.set_weights([weight + 1 for weight in first])
        with monkeypatch.context() as patch:
            _die_at(patch, deadly)
            checkpoint.on_epoch_begin(1)
            with pytest.raises(SystemExit):
                checkpoint.on_epoch_end(1, {"val_score": 0.2, "val_loss": 1.0})
        assert tiny.leftovers(folder)  # as a kill leaves them
        after = Checkpoint(folder)
        restored = load_model(after.restore())
        after.keep_best(restored)
        whole = 2 if deadly == 3 else 1
        assert after.state["epoch"] == after.state["best_epoch"] == whole
        for own in (restored, load_model(folder / "model.keras")):
            for weight, expected in zip(own.get_weights(), first, strict=True):
                np.testing.assert_array_equal(weight, expected + (whole - 1))
        assert not tiny.leftovers(folder)
        assert len(list((folder / "training_state").glob("*.keras"))) == 1


def _die_at(patch, deadly):
    """Ends the run before the rename of this number, with nothing cleaned up."""
    replace, calls = os.replace, []

    def dies(source, target):
        calls.append(target)
        if len(calls) == deadly + 1:
            patch.setattr("pathlib.Path.unlink", lambda *_, **__: None)
            raise SystemExit
        replace(source, target)

    patch.setattr("keras_deepskip._files.os.replace", dies)


def test_a_disk_that_fills_up_in_a_checkpoint(tmp_path, monkeypatch):
    checkpoint = kept(tmp_path, [(0.1, 1.0)])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fills_up(path, **_):
        with open(path, "wb") as file:
            file.write(b"half a model")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint.model, "save", fills_up)
    checkpoint.on_epoch_begin(1)
    with pytest.raises(OSError, match="epoch-0002.keras.*No space left on device.*Free space"):
        checkpoint.on_epoch_end(1, {"val_score": 0.0, "val_loss": 1.0})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert Checkpoint(tmp_path).restore().name == "epoch-0001.keras"


def test_an_epoch_draws_the_same_whatever_was_before():
    dropout = keras.layers.SpatialDropout2D(0.5)
    model = keras.Sequential([keras.Input((4, 4, 64)), dropout])
    seeds, ones = SeedEpochs(3), np.ones((1, 4, 4, 64), "float32")
    seeds.set_model(model)

    def draw(epoch, calls=1):
        seeds.on_epoch_begin(epoch)
        drawn = [keras.ops.convert_to_numpy(model(ones, training=True)) for _ in range(calls)]
        return drawn[-1], np.random.random(), np.random.randint(1000)

    first, second = draw(0), draw(1)
    draw(5, calls=3)
    for epoch, expected in enumerate([first, second]):
        for got, value in zip(draw(epoch), expected, strict=True):
            np.testing.assert_array_equal(got, value)
    assert not np.array_equal(first[0], second[0]) and first[1] != second[1]
    assert not np.array_equal(draw(0, calls=2)[0], first[0])  # nor is a step like the one before


# ---- TensorBoard ---------------------------------------------------------------------------------


def events_of(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    return events.Reload()


def test_logs_hold_all_figures_and_pictures():
    """The two curves of a figure have one name in two folders: TensorBoard shows one chart."""
    run = tiny.run()
    train, events = (events_of(run.folder / "logs" / part) for part in ("train", "validation"))
    known = {name for name, value in run.history[0].items() if value is not None}
    known -= {"epoch", "seconds"}
    own = {name for name in known if not name.startswith("val_")}
    assert set(train.Tags()["scalars"]) == own | {"learning_rate"}
    assert set(events.Tags()["scalars"]) == {name[4:] for name in known - own}
    for row in run.history:
        for part, name in ((train, "loss"), (events, "val_loss")):
            losses = {event.step: event.value for event in part.Scalars("loss")}
            assert losses[row["epoch"]] == pytest.approx(row[name])
    pictures = [tag for tag in events.Tags()["images"] if tag.startswith("image_truth_prediction/")]
    assert pictures
    steps = [
        (picture.step, picture.width, picture.height) for picture in events.Images(pictures[0])
    ]
    assert steps == [(1, 104, 32), (3, 104, 32)]  # the first and the last epoch; 3 x 32 + 8 wide


def test_logs_tell_the_plan_and_the_hyper_parameters():
    """Read by TensorBoard's own readers: the plugins' data, not the names of the events alone."""
    from tensorboard.plugins.hparams import metadata

    run = tiny.run()
    events = events_of(run.folder / "logs" / "validation")
    (text,) = (event.tensor_proto.string_val[0] for event in events.Tensors("plan/text_summary"))
    assert text.decode() == run.plan.text()
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    known = metadata.parse_session_start_info_plugin_data(content).hparams
    assert known["batch_size"].number_value == 2 and known["augment"].bool_value is True
    assert known["backbone"].string_value == "light_vgg16" and "minutes" not in known
    content = events.SummaryMetadata(metadata.EXPERIMENT_TAG).plugin_data.content
    outcomes = metadata.parse_experiment_plugin_data(content).metric_infos
    assert {own.name.tag for own in outcomes} <= set(events.Tags()["scalars"])
    content = events.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    assert metadata.parse_session_end_info_plugin_data(content).status == 1  # success


def test_logs_hold_curves_by_threshold():
    """Of pixels by the plugin of PR curves; of objects, what the operating point came from."""
    from tensorboard.util import tensor_util

    run = tiny.run()
    events = events_of(run.folder / "logs" / "validation")
    curves = events.Tensors("precision_recall/class_1")
    assert [event.step for event in curves] == [1, 3]  # as the pictures
    true, false, _, missed, precision, recall = tensor_util.make_ndarray(curves[-1].tensor_proto)
    np.testing.assert_allclose(recall, true / np.maximum(true + missed, 1), atol=1e-6)
    np.testing.assert_allclose(precision, true / np.maximum(true + false, 1), atol=1e-6)
    assert recall[0] == 1 and len(recall) == 127
    chosen = events_of(run.folder / "logs" / "operating_point")
    for name in ("recall", "precision", "f1", "iou"):
        points = {event.step: event.value for event in chosen.Scalars(f"by_threshold/{name}")}
        expected = {round(100 * row["threshold"]): row[name] for row in run.operating_curve}
        assert points == pytest.approx(expected)
    (text,) = chosen.Tensors("operating_point/text_summary")
    assert f"threshold: {run.operating_point.threshold}" in text.tensor_proto.string_val[0].decode()


def logged(folder, epochs, loss, **arguments):
    logger = TensorBoardLogger(folder, **arguments)
    logger.set_model(small_model())
    for epoch in epochs:
        logger.on_epoch_begin(epoch)
        logger.on_epoch_end(epoch, {"loss": loss, "val_loss": math.nan})
    return logger


def test_a_resumed_log_hides_what_it_logs_again(tmp_path):
    logged(tmp_path, [0, 1, 2], loss=1.0)  # a run that was killed: never closed
    logged(tmp_path, [1, 2], loss=2.0).on_train_end()
    assert len(list((tmp_path / "train").iterdir())) == 2
    events = events_of(tmp_path / "train")
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [
        (1, 1.0),
        (2, 2.0),
        (3, 2.0),
    ]
    assert not events_of(tmp_path / "validation").Tags()["scalars"]  # NaN is no point


def test_pictures_show_what_the_logger_is_given(tmp_path):
    import io

    from PIL import Image

    images = np.random.default_rng(0).normal(size=(1, 8, 12, 3)).astype("float32")
    shown = np.full((1, 8, 12, 3), 77, "uint8")
    masks = np.zeros((1, 8, 12, 1), "uint8")
    logged(tmp_path, [0], 1.0, images=images, masks=masks, pictures=shown).on_train_end()
    (picture,) = events_of(tmp_path / "validation").Images("image_truth_prediction/1")
    array = np.asarray(Image.open(io.BytesIO(picture.encoded_image_string)))
    assert array.shape == (8, 44, 3)
    assert (array[:, :12] == 77).all()


def test_logs_that_cannot_be_written_end_the_training(tmp_path):
    (tmp_path / "logs").write_text("a file")
    logger = TensorBoardLogger(tmp_path / "logs")
    logger.set_model(small_model())
    with pytest.raises(OSError, match="could not write .*logs"):
        logger.on_epoch_begin(0)


# ---- The recipe ----------------------------------------------------------------------------------


def test_accumulated_gradients_are_those_of_a_large_batch():
    """Of a network without batch norms: two batches of 2 change the weights as one of 4 does."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(8, 9, 9, 3)).astype("float32")
    masks = (rng.random((8, 9, 9, 1)) > 0.7).astype("int32")
    initial, found = None, {}
    for every, batch in ((None, 4), (2, 2)):
        inputs = keras.Input((9, 9, 3))
        hidden = keras.layers.Conv2D(4, 3, padding="same", activation="tanh")(inputs)
        outputs = keras.layers.Conv2D(1, 1, activation="sigmoid")(hidden)
        model = keras.Model(inputs, outputs)
        initial = initial or model.get_weights()
        model.set_weights(initial)
        recipe = Recipe(
            epochs=2, steps_per_epoch=8 // batch, batch_size=batch, crop_size=32, accumulate=every,
            schedule="plateau", size_balance=0.0, include_absent=True,
        )  # fmt: skip
        compile_stage(model, recipe.stages[-1], recipe, MaskReading(num_classes=1))
        model.fit(images, masks, batch_size=batch, epochs=2, shuffle=False, verbose=0)
        found[every] = model.get_weights()
        assert int(model.optimizer.iterations) == 4
    for one, other, begun in zip(found[None], found[2], initial, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert not np.allclose(one, begun, atol=1e-4)


@pytest.mark.parametrize(
    "values, words",
    [
        ({"epochs": 0}, "`epochs` must be an integer of at least 1"),
        ({"patience": 0}, "`patience`"),
        ({"positive_share": 1.5}, "`positive_share`"),
        ({"learning_rate": -1.0}, "`learning_rate`"),
        ({"precision": "float16"}, "mixed_float16"),
    ],
)
def test_a_recipe_is_checked(values, words):
    with pytest.raises(ValueError, match=words):
        Recipe(**values)


def rates(recipe, steps):
    model = small_model()
    compile_stage(model, recipe.stages[0], recipe, MaskReading(1))
    schedule = model.optimizer.get_config()["learning_rate"]["config"]
    schedule = keras.optimizers.schedules.CosineDecay.from_config(schedule)
    return [float(schedule(step)) for step in steps]


def test_the_learning_rate_rises_and_falls():
    recipe = Recipe(epochs=10, steps_per_epoch=20, learning_rate=0.1, warmup=0.1)
    assert rates(recipe, [0, 10, 20, 110, 200]) == pytest.approx([0, 0.05, 0.1, 0.05, 0], abs=1e-6)
    sudden = dataclasses.replace(recipe, warmup=0.0)
    assert rates(sudden, [0, 100, 200]) == pytest.approx([0.1, 0.05, 0], abs=1e-6)


def test_the_loss_is_the_recipes():
    model = small_model()
    recipe = Recipe(epochs=2, steps_per_epoch=1, alpha=0.7, beta=0.2)
    compile_stage(model, recipe.stages[0], recipe, MaskReading(1, ignore_class=255))
    config = model.loss.get_config()
    assert (config["alpha"], config["beta"], config["ignore_class"]) == (0.7, 0.2, 255)


def test_a_recipe_of_another_precision(tmp_path):
    """The model is built under the recipe's policy; what comes after is as before."""
    policy = keras.config.dtype_policy().name
    model = build(Recipe(precision="mixed_bfloat16"), tiny_facts(), {"levels": 2})
    assert model.get_layer("d1_skips").dtype_policy.name == "mixed_bfloat16"
    assert keras.config.dtype_policy().name == policy
    with pytest.raises(ValueError):
        build(Recipe(precision="mixed_bfloat16"), tiny_facts(), {"levels": 0})
    assert keras.config.dtype_policy().name == policy


def tiny_facts():
    return json.loads((tiny.run().folder / "config.json").read_text())["facts"]


# ---- Other backends ------------------------------------------------------------------------------

OTHERS = {"tensorflow": "jax", "jax": "torch", "torch": "tensorflow"}
OTHER = OTHERS[keras.backend.backend()]

# Evaluates a model that another backend has written, and trains as that one did.
CHILD = """
import sys, json, keras, numpy as np
from keras_deepskip import load_model
from keras_deepskip._versions import versions
from keras_deepskip.data import MaskReading, load_split, split_to_json
from keras_deepskip.inference import evaluate
from keras_deepskip.training import Recipe, train
run, data, out, threshold = sys.argv[1:]
split = load_split(data, run + "/split.json")
model = load_model(run + "/model.keras")
figures = evaluate(model, split.test, threshold=float(threshold), verbose=0).to_dict()
config = json.load(open(run + "/config.json"))
options = {name: value for name, value in config["model"].items() if name != "own"}
first = []
keep = keras.callbacks.LambdaCallback(
    on_train_begin=lambda logs: first.extend(keep.model.get_weights())
)
trained = train(data, out, Recipe(**config["recipe"]), callbacks=[keep], verbose=0, **options)
np.savez(out + "/first.npz", *first)
print(json.dumps([figures, split_to_json(trained.split), trained.history]))
"""


def clear_threshold(model, samples):
    """A threshold that calls about half of the pixels, and lies in the widest gap around there."""
    images = np.stack([read_image(sample.image) for sample in samples]).astype("float32")
    outputs = np.sort(keras.ops.convert_to_numpy(model.predict_on_batch(images)).ravel())
    middle = outputs[len(outputs) * 2 // 5 : len(outputs) * 3 // 5]
    widest = np.argmax(np.diff(middle))
    return float(middle[widest : widest + 2].mean(dtype="float64"))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec(OTHER) is None, reason=f"{OTHER} is not installed")
def test_another_backend_gives_the_same_figures_and_trains_alike(tmp_path):
    run = tiny.first_run()
    model, names = load_model(run / "model.keras"), json.loads((run / "split.json").read_text())
    test = load_split(tiny.data(), run / "split.json").test
    threshold = clear_threshold(model, test)
    printed = tiny.python(CHILD, run, tiny.data(), tmp_path / "run", threshold, backend=OTHER)
    figures, split, history = json.loads(printed.splitlines()[-1])

    # The `.keras` file, under this backend and under the other.
    ours = evaluate(model, test, threshold=threshold, verbose=0)
    assert figures["pixels"] == pytest.approx(ours.pixels, abs=1e-4)
    assert figures["objects"] == ours.objects
    assert all(0 < value < 1 for value in figures["pixels"].values())

    # The same training from one seed: split, first weights, losses.
    assert split == names
    config = json.loads((run / "config.json").read_text())
    options = {name: value for name, value in config["model"].items() if name != "own"}
    seed_generators(config["recipe"]["seed"])
    expected = build(Recipe(**config["recipe"]), config["facts"], options).get_weights()
    with np.load(tmp_path / "run" / "first.npz") as first:
        assert len(first.files) == len(expected)
        for name, weight in zip(first.files, expected, strict=True):
            np.testing.assert_allclose(first[name], weight, atol=1e-6)
    (row,) = rows_of(run / "history.csv")
    for name in ("loss", "val_loss"):
        assert history[0][name] == pytest.approx(float(row[name]), abs=1e-3)


# As if TensorFlow were not installed.
WITHOUT = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        hidden = name.partition(".")[0] == "tensorflow"
        return None if hidden else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import dataclasses
from keras_deepskip.inference import evaluate, predict
from keras_deepskip.training import train
from tests import tiny
recipe = dataclasses.replace(tiny.RECIPE, epochs=1)
run = train(sys.argv[1], sys.argv[2], recipe, verbose=0, **tiny.MODEL)
found = evaluate(run.model, run.split.test, verbose=0)
predict(run.model, run.split.test[0].image, sys.argv[2] + "/found", verbose=0)
assert found.images == 2 and "tensorflow" not in sys.modules
try:
    import tensorflow
except ImportError:
    print("not there")
"""


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="about the other backends")
def test_all_but_the_export_works_without_tensorflow(tmp_path):
    assert tiny.python(WITHOUT, tiny.data(), tmp_path / "run").endswith("not there\n")
    tags = events_of(tmp_path / "run" / "logs" / "validation").Tags()
    assert {"loss", "iou", "object_f1"} <= set(tags["scalars"])
    assert "image_truth_prediction/1" in tags["images"]
    assert (tmp_path / "run" / "found" / "objects.csv").exists()
