"""A SavedModel in TensorFlow, run without Keras.

    python run_saved_model.py cells_saved_model image.png mask.png labels.tif

Needs tensorflow, numpy, scipy and pillow; objects.py lies beside it. The file is what
`keras-deepskip export --format saved_model` writes, of a model for RGB images.
"""

import sys

import numpy as np
import tensorflow as tf
from objects import objects_of
from PIL import Image

file, image_file, mask_file, labels_file = sys.argv[1:]

picture = Image.open(image_file)
if picture.mode[0] in "IF":  # 16 bits or floats; the model was trained on 8 bits
    sys.exit(f"{image_file}: an image of 8 bits was expected. Received: mode {picture.mode}")
image = np.asarray(picture.convert("RGB"), "float32")[None]  # (1, H, W, 3), 0 .. 255

model = tf.saved_model.load(file)
probabilities = model.serve(image=tf.constant(image))["probabilities"].numpy()  # (1, H, W, K)

mask, labels = objects_of(probabilities[0], file)
Image.fromarray(mask).save(mask_file)  # class ids, (H, W)
Image.fromarray(labels).save(labels_file)  # which object each pixel is of, 32 bits
print(f"{labels.max()} objects, {(mask > 0).mean():.2%} of the pixels")
