"""The main job on real images, at small size: formats, sizes and classes as users have them."""

import json

import numpy as np
import pytest

from keras_deepskip.data import MaskReading, audit, find_samples, read_image
from keras_deepskip.data.masks import read_ids
from keras_deepskip.inference import evaluate, predict
from keras_deepskip.training import Recipe, train

pytestmark = pytest.mark.real_data

# set: classes with the background (1 for a single kind of object), channels of its images
SETS = {
    "nuclei_fluorescence": (1, 3),
    "ecoli": (1, 1),
    "suim_underwater": (4, 3),
    "coco_vehicle": (6, 3),
}
SMALL = {"levels": 2, "base_filters": 2}
ONCE = Recipe(epochs=1, steps_per_epoch=1, batch_size=2, crop_size=32, validation_windows=2)


@pytest.mark.parametrize(
    "name",
    [
        "nuclei_fluorescence",
        "coco_vehicle",
        pytest.param("ecoli", marks=pytest.mark.one_backend),
        pytest.param("suim_underwater", marks=pytest.mark.one_backend),
    ],
)
def test_train_evaluate_predict(real_data, tmp_path, name):
    classes, channels = SETS[name]
    samples = find_samples(real_data / name)
    names = [sample.name for sample in samples]
    parts = {"train": names[:3], "val": names[3:5], "test": names[5:7]}
    (tmp_path / "split.json").write_text(json.dumps(parts), encoding="utf-8")

    run = train(
        real_data / name, tmp_path / "run", ONCE, split_file=tmp_path / "split.json",
        masks=MaskReading(classes), verbose=0, **SMALL,
    )  # fmt: skip
    assert run.model.output_shape[-1] == classes and run.model.input_shape[-1] == channels
    assert [sample.name for sample in run.split.test] == parts["test"]

    found = evaluate(run.model, run.split.test, verbose=0)
    assert found.images == 2 and 0 <= found.pixels["IoU"] <= 1
    objects = predict(run.model, [s.image for s in run.split.test], tmp_path / "found", verbose=0)
    for sample in run.split.test:
        mask = read_ids(tmp_path / "found" / "masks" / f"{sample.name}.png")
        assert mask.shape == read_image(sample.image).shape[:2]
        listed = sum(row["area"] for row in objects if row["image"] == sample.name)
        assert listed == np.count_nonzero(mask)


@pytest.mark.parametrize("name", ["euro_coins", "nuclei_histology", "mri_tumour", "coco_person"])
def test_audit_finds_nothing_wrong(real_data, name):
    report = audit(real_data / name)
    assert report.ok, report.text()
    assert report.figures["images"] == len(find_samples(real_data / name))
