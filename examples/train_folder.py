# %% [markdown]
# # From a folder of images and masks to a SavedModel
#
#     python examples/train_folder.py FOLDER OUT
#
# `FOLDER` holds `images/` (PNG, JPEG or TIFF) and `masks/` of the same names: 0 is background, 1..K
# are class ids (0/255 works for one class). The command line does the same, step by step:
# `keras-deepskip audit`, `train`, `evaluate`, `predict`, `export`.

# %%
import sys
from pathlib import Path

from keras_deepskip.data import audit
from keras_deepskip.export import export
from keras_deepskip.inference import evaluate, predict
from keras_deepskip.training import Recipe, train

# %% [markdown]
# ## Before training: what is wrong with the data
#
# The audit does not fail on bad files, it lists them: unreadable images, masks of another size,
# class ids out of range, duplicates, objects smaller than the network's stride.


# %%
def look(folder):
    report = audit(folder)
    print(report.text())
    return report.ok


# %% [markdown]
# ## Training, evaluation, use
#
# What the recipe leaves open is chosen from the data (`keras-deepskip plan` says why): crops, how
# many of them are on objects, whether scenes may be turned, how long it takes. The run's folder
# holds all that is needed to repeat it. After a kill, the same call with `resume=True` continues,
# and gives the same weights. `network` holds options of `build_model`, as `levels`.


# %%
def main(folder, out, network=None, **recipe):
    out = Path(out)
    if not look(folder):
        return 1
    run = train(folder, out / "run", Recipe(**recipe), **(network or {}))
    print(evaluate(run, out=run.folder).text())
    objects = predict(run, [item.image for item in run.split.test], out / "found")
    print(f"{len(objects)} objects in {out / 'found' / 'objects.csv'}")
    print(export(run, out / "saved_model").text())
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: train_folder.py FOLDER OUT")
    sys.exit(main(sys.argv[1], sys.argv[2]))
