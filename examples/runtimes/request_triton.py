"""A request to Triton, which runs an ONNX file without Keras.

    python request_triton.py http://localhost:8000/v2/models/cells image.png mask.png labels.tif

Needs numpy, scipy and pillow; objects.py lies beside it. A fifth argument, the exported file
(served/cells/1/model.onnx), has objects decided by its operating point. docs/export.md: the server.
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
image = np.asarray(picture.convert("RGB"), "float32")[None]  # (1, H, W, 3), 0 .. 255

# The values follow the JSON as bytes, in requests and answers (Triton's binary tensor extension).
image_head = {"name": "image", "datatype": "FP32", "shape": image.shape}
image_head["parameters"] = {"binary_data_size": image.nbytes}
wanted = {"name": "probabilities", "parameters": {"binary_data": True}}
head = json.dumps({"inputs": [image_head], "outputs": [wanted]}).encode()
length = "Inference-Header-Content-Length"
request = urllib.request.Request(f"{model}/infer", head + image.tobytes(), {length: len(head)})
with urllib.request.urlopen(request) as answer:
    values = answer.read()[int(answer.headers[length]) :]
probabilities = np.frombuffer(values, "float32").reshape(*image.shape[1:3], -1)  # (H, W, K)
mask, labels = objects_of(probabilities, *file)
Image.fromarray(mask).save(mask_file)  # class ids, (H, W)
Image.fromarray(labels).save(labels_file)  # which object each pixel is of, 32 bits
print(f"{labels.max()} objects, {(mask > 0).mean():.2%} of the pixels")
