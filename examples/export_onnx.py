# %% [markdown]
# # Export to ONNX, and run without Keras
#
# A network is trained shortly, written as an ONNX file that also gives the mask, and run by ONNX
# Runtime on images of two sizes. ONNX Runtime exists for servers, phones, and browsers (ONNX
# Runtime Web reads the same file). Two minutes on two CPU cores.

# %%
import os
import time

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import onnxruntime
from PIL import Image

import keras_deepskip as kd
from keras_deepskip import data, drawing, losses, metrics

IMAGES = int(os.environ.get("EXPORT_IMAGES", 36))
SIDE = int(os.environ.get("EXPORT_SIDE", 128))
EPOCHS = int(os.environ.get("EXPORT_EPOCHS", 15))
LEVELS = int(os.environ.get("EXPORT_LEVELS", 5))

# %% [markdown]
# ## A network

# %%
keras.utils.set_random_seed(0)
images, masks = data.scenes("coins", IMAGES, height=SIDE, width=SIDE, count=(2, 6), seed=0)
model = kd.build_model(levels=LEVELS)
model.compile(keras.optimizers.Adam(3e-3), losses.SmallObjectLoss(), metrics=[metrics.IoU()])
history = model.fit(images, masks, batch_size=6, epochs=EPOCHS, verbose=2)

# %% [markdown]
# ## The file
#
# `export` folds batch norms into the convolutions, writes the file, opens it by ONNX Runtime, runs
# it at three sizes, two of them no multiples of the network's stride, and compares it with the
# model. A file that differs by more than 1e-5 is not kept.

# %%
report = kd.export(model, "coins.onnx", format="onnx", mask=True)
print(report.text())

# %% [markdown]
# ## Running it
#
# This needs no Keras; the model is asked for the comparison alone. Raw values go in, as float32:
# normalization, padding and cropping are in the file. Number and size of the images are free.

# %%
session = onnxruntime.InferenceSession("coins.onnx")
print([(each.name, each.shape) for each in session.get_inputs() + session.get_outputs()])
for side in (SIDE, SIDE + 37):
    scene, _ = data.scenes("coins", 1, height=side, width=side, count=(2, 6), seed=side)
    begun = time.perf_counter()
    values = {"image": scene.astype("float32")}
    probabilities, mask = session.run(["probabilities", "mask"], values)
    taken = time.perf_counter() - begun
    apart = abs(probabilities - model.predict(scene, verbose=0)).max()
    print(f"{mask.shape}: {1000 * taken:.0f} ms, at most {apart:.1e} from the model")

# %% [markdown]
# Image, truth (found blue, missed orange) and what the file found (right blue, false yellow):

# %%
mask = session.run(["mask"], {"image": images[:1].astype("float32")})[0]
picture = drawing.draw_comparison(images[0], masks[0, ..., 0], np.asarray(mask[0]))
data.write_png("coins.png", picture)
Image.fromarray(picture)

# %% [markdown]
# ## Objects, and 8 bits
#
# A file of a trained run has its operating point beside it, and
# `examples/runtimes/run_onnx.py` gives the objects of `predict` with NumPy and SciPy alone.
# `keras-deepskip quantize` writes 8 bits: two fifths of the size, compared on the test images.
