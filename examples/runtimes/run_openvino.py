"""An OpenVINO model, run without Keras.

    python run_openvino.py cells_openvino image.png mask.png

Needs openvino, numpy and pillow. The file is what `keras-deepskip export --format openvino`
writes, of a model for RGB images.
"""

import sys

import numpy as np
import openvino
from PIL import Image

file, image_file, mask_file = sys.argv[1:]

picture = Image.open(image_file)
if picture.mode[0] in "IF":  # 16 bits or floats; the model was trained on 8 bits
    sys.exit(f"{image_file}: an image of 8 bits was expected. Received: mode {picture.mode}")
image = np.asarray(picture.convert("RGB"), "float32")[None]  # (1, H, W, 3), 0 .. 255

# Processors with bfloat16 compute in that by default: faster, and some hundredths off. Leave the
# setting out to have it so.
exact = {"INFERENCE_PRECISION_HINT": "f32"}
model = openvino.Core().compile_model(f"{file}/model.xml", "CPU", exact)
probabilities = model({"image": image})["probabilities"]  # (1, H, W, K)

classes = probabilities.shape[-1]
mask = probabilities[0].argmax(axis=-1) if classes > 1 else probabilities[0, :, :, 0] > 0.5
Image.fromarray(mask.astype("uint8")).save(mask_file)  # class ids, (H, W)
print(f"{(mask > 0).mean():.2%} of the pixels are object")
