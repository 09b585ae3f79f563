"""A request to TensorFlow Serving, which runs a SavedModel without Keras.

    python request_serving.py http://localhost:8501/v1/models/cells image.png mask.png labels.tif

Needs numpy, scipy and pillow; objects.py lies beside it. A fifth argument, the exported file
(served/cells/1), has objects decided by its operating point. docs/export.md: the server.
"""

import json
import sys
import urllib.request

import numpy as np
from objects import objects_of
from PIL import Image

model, image_file, mask_file, labels_file, *file = sys.argv[1:]

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

mask, labels = objects_of(probabilities, *file)
Image.fromarray(mask).save(mask_file)  # class ids, (H, W)
Image.fromarray(labels).save(labels_file)  # which object each pixel is of, 32 bits
print(f"{labels.max()} objects, {(mask > 0).mean():.2%} of the pixels")
