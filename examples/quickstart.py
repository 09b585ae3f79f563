# %% [markdown]
# # Small objects, found in a few lines
#
# This notebook builds the light deep-skip network, trains it on synthetic scenes of small objects,
# and shows what it finds. It runs on TensorFlow, JAX or PyTorch: set
# `KERAS_BACKEND` before Keras is imported. A CPU will do.

# %%
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from PIL import Image

import keras_deepskip
from keras_deepskip import data, drawing, losses, metrics, training

# %% [markdown]
# ## Images and masks
#
# Forty synthetic scenes of 256 x 256 pixels with a few small lesions each, among streaks, rings and
# specks of the same colours. `images` is (N, H, W, 3), 8 bits; `masks` is (N, H, W, 1), 0 and 1.
# Use your own arrays in the same form; for folders see `train_folder.py`.

# %%
COUNT = int(os.environ.get("QUICKSTART_IMAGES", 40))
EPOCHS = int(os.environ.get("QUICKSTART_EPOCHS", 30))
images, masks = data.scenes("lesions", COUNT, seed=0)
held_out = COUNT // 4
train_images, train_masks = images[held_out:], masks[held_out:]
test_images, test_masks = images[:held_out], masks[:held_out]
print(f"{masks.mean():.2%} of the pixels are object")

# %% [markdown]
# ## The network
#
# One call. Images need no preprocessing: the model normalizes them, pads them to its own stride,
# and crops the result back, so any height and width works.

# %%
keras.utils.set_random_seed(0)
model = keras_deepskip.build_model(input_shape=(None, None, 3), num_classes=1)
model.compile(
    optimizer=keras.optimizers.Adam(3e-3),
    loss=losses.SmallObjectLoss(),
    metrics=[metrics.IoU(), metrics.Recall()],
)
kernels = sum(keras_deepskip.analysis.conv_parameters(model).values())
field = keras_deepskip.analysis.receptive_field(model)
print(
    f"{kernels:,} weights; each pixel of the output sees {field.size} x {field.size} of the input"
)

# %% [markdown]
# ## Training
#
# Plain `fit`, with Keras's own callbacks and two of this package: objects are evaluated one by
# one after every epoch, and TensorBoard shows image, truth and prediction side by side.

# %%
history = model.fit(
    train_images,
    train_masks,
    batch_size=6,
    epochs=EPOCHS,
    validation_data=(test_images, test_masks),
    callbacks=[
        metrics.ObjectMetricsCallback((test_images, test_masks)),
        training.TensorBoardLogger("logs/quickstart", test_images[:4], test_masks[:4]),
    ],
    verbose=2,
)

# %% [markdown]
# In a notebook, `%load_ext tensorboard` and `%tensorboard --logdir logs` show the curves and the
# images.
#
# ## What it finds
#
# Object by object, by their size in pixels:

# %%
found = metrics.masks_from_outputs(model.predict(test_images, verbose=0))
counts = metrics.ObjectCounts()
counts.update_batch(test_masks, found)
print(f"recall {counts.recall():.2f}, precision {counts.precision():.2f}, F1 {counts.f1():.2f}")
for stratum in counts.stratum_names:
    print(f"  {stratum}: recall {counts.recall(stratum=stratum)}")

# %% [markdown]
# Image, truth (found blue, missed orange) and prediction (right blue, false yellow):

# %%
picture = drawing.draw_comparison(test_images[0], test_masks[0, ..., 0], found[0])
data.write_png("quickstart.png", picture)
Image.fromarray(picture)

# %% [markdown]
# ## Keeping it
#
# One file holds the model, its loss and its metrics; it loads under any backend, without
# `custom_objects`.

# %%
model.save("quickstart.keras")
again = keras.models.load_model("quickstart.keras")
print(
    "largest difference after reload:",
    abs(again.predict(test_images, verbose=0) - model.predict(test_images, verbose=0)).max(),
)
