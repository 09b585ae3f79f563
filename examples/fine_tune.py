# %% [markdown]
# # Fine-tuning: do these weights help?
#
#     python examples/fine_tune.py FOLDER OUT WEIGHTS [BACKBONE]
#
# `FOLDER` holds `images/` and `masks/`. `WEIGHTS` is a network that was trained on other images
# (the `model.keras` of a run) or, with a `BACKBONE` of Keras Applications, `imagenet`. The same
# split and the same number of steps are trained twice, from scratch and from the weights, and both
# are evaluated on the same test images: weights from another kind of image may make results worse.

# %%
import sys
from pathlib import Path

from keras_deepskip.inference import evaluate
from keras_deepskip.training import Recipe, train

# %% [markdown]
# ## Two stages
#
# First the backbone is frozen, and only the new decoder is trained. Then the whole network is
# trained, at a tenth of the learning rate; the backbone's batch norms keep their statistics. The
# weights include the normalization of the images that they were trained with.


# %%
def fine_tune(folder, out, weights, network, freeze_epochs, **recipe):
    recipe = Recipe(freeze_epochs=freeze_epochs, **recipe)
    return train(folder, out, recipe, weights=weights, **network)


# %% [markdown]
# ## Side by side
#
# `network` holds further options of `build_model`, as `levels`.


# %%
def main(
    folder, out, weights, backbone="light_vgg16", freeze_epochs=2, network=None, epochs=8, **recipe
):
    network = {"backbone": backbone, **(network or {})}
    recipe, out = {"epochs": epochs, **recipe}, Path(out)
    runs = {
        "from scratch": train(folder, out / "scratch", Recipe(**recipe), **network),
        "on weights": fine_tune(folder, out / "tuned", weights, network, freeze_epochs, **recipe),
    }
    for name, run in runs.items():
        evaluation = evaluate(run, out=run.folder, verbose=0)
        f1 = evaluation.objects["all"]["f1"]
        print(f"{name}: pixel IoU {evaluation.pixels['IoU']:.3f}, object F1 {f1 or 0:.3f}")


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit("usage: fine_tune.py FOLDER OUT WEIGHTS [BACKBONE]")
    main(*sys.argv[1:])
