"""A request to TensorFlow Serving, which runs a SavedModel without Keras.

    python request_serving.py http://localhost:8501/v1/models/cells image.png mask.png

Needs numpy and pillow. docs/export.md says how to start the server.
"""

import json
import sys
import urllib.request

import numpy as np
from PIL import Image

model, image_file, mask_file = sys.argv[1:]

picture = Image.open(image_file)
if picture.mode[0] in "IF":  # 16 bits or floats; the model was trained on 8 bits
    sys.exit(f"{image_file}: an image of 8 bits was expected. Received: mode {picture.mode}")
image = np.asarray(picture.convert("RGB"))  # (H, W, 3), 0 .. 255
body = json.dumps({"signature_name": "serving_default", "instances": [image.tolist()]})
request = urllib.request.Request(f"{model}:predict", body.encode())
with urllib.request.urlopen(request) as answer:
    (prediction,) = json.load(answer)["predictions"]
# Of a model that was exported with mask=True, each prediction is a dict of both outputs.
probabilities = np.array(prediction["probabilities"] if "mask" in prediction else prediction)

classes = probabilities.shape[-1]
mask = probabilities.argmax(axis=-1) if classes > 1 else probabilities[:, :, 0] > 0.5
Image.fromarray(mask.astype("uint8")).save(mask_file)  # class ids, (H, W)
print(f"{(mask > 0).mean():.2%} of the pixels are object")
