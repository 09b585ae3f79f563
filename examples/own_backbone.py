# %% [markdown]
# # A backbone and a `fit` of your own
#
# The deep-skip decoder works on any encoder. This script writes a small one in Keras, puts the
# decoder on it, trains it by plain `fit`, counts objects, and predicts an image larger than those
# that it was trained on. Two minutes on two CPU cores.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers
from PIL import Image

import keras_deepskip as kd
from keras_deepskip import data, drawing, losses, metrics

IMAGES = int(os.environ.get("BACKBONE_IMAGES", 48))
SIDE = int(os.environ.get("BACKBONE_SIDE", 128))
EPOCHS = int(os.environ.get("BACKBONE_EPOCHS", 30))
LEVELS = int(os.environ.get("BACKBONE_LEVELS", 4))

# %% [markdown]
# ## The encoder
#
# A functional model from an image to its coarsest map, of depthwise convolutions and 'same'
# padding. Its levels are found by calling it on images of two sizes: the last map of each stride.
# It begins at full resolution, so that small objects keep their outlines.


# %%
def make_encoder(levels):
    inputs = keras.Input((None, None, 3))
    x = inputs
    for level in range(levels):
        width, strides = 12 * 2**level, 1 if level == 0 else 2
        x = layers.SeparableConv2D(width, 3, strides, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.ReLU()(x)
        x = layers.SeparableConv2D(width, 3, padding="same", activation="relu")(x)
    return keras.Model(inputs, x)


keras.utils.set_random_seed(0)
model = kd.build_model(backbone=make_encoder(LEVELS))
field = kd.analysis.receptive_field(model)
print(f"{model.count_params():,} weights; a pixel of the result sees {field.size} x {field.size}")

# %% [markdown]
# ## Training by `fit`
#
# Arrays, a `tf.data.Dataset` or a `keras.utils.PyDataset` go in as they are: 8-bit values, of any
# size, and masks of class ids. The callback counts objects of the validation images after each
# epoch; its figures are in `history` beside those of the pixels.

# %%
scene = {"count": (2, 6), "clutter": 0.2}
images, masks = data.scenes("coins", IMAGES, height=SIDE, width=SIDE, seed=0, **scene)
held_out = IMAGES // 4
model.compile(keras.optimizers.Adam(3e-3), losses.SmallObjectLoss(), metrics=[metrics.IoU()])
history = model.fit(
    images[held_out:],
    masks[held_out:],
    validation_data=(images[:held_out], masks[:held_out]),
    batch_size=6,
    epochs=EPOCHS,
    callbacks=[metrics.ObjectMetricsCallback((images[:held_out], masks[:held_out]))],
    verbose=2,
)
print({name: round(values[-1], 3) for name, values in history.history.items() if "val" in name})

# %% [markdown]
# ## A larger image
#
# Windows overlap by what a pixel of the result can see, which is read off the model's own graph:
# the mask is that of one pass over the whole image.

# %%
scene["count"] = (20, 40)
large, truth = data.scenes("coins", 1, height=4 * SIDE, width=4 * SIDE, seed=9, **scene)
found = kd.predict_tiled(model, large[0], output="mask", tile=2 * SIDE)
whole = metrics.masks_from_outputs(model.predict(large, verbose=0))[0]
print(f"{np.mean(found == whole):.4%} of the pixels as in one pass")
picture = drawing.draw_comparison(large[0], truth[0, ..., 0], found)
data.write_png("backbone.png", picture)
Image.fromarray(picture)

# %% [markdown]
# ## Keeping it
#
# The encoder's layers are Keras's, so the file loads without code of yours.

# %%
model.save("own_backbone.keras")
again = keras.models.load_model("own_backbone.keras")
difference = again.predict(large, verbose=0) - model.predict(large, verbose=0)
print("largest difference after reload:", abs(difference).max())
