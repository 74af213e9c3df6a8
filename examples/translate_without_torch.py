"""One picture into another domain, with files of `python -m kdlib export` and nothing but onnxruntime, numpy and Pillow.

    python examples/translate_without_torch.py runs/mini/teacher/export/int8/ cat.png fox translated.png
    python examples/translate_without_torch.py book/_static/models/student_ cat.png fox translated.png

The first argument is what the files' paths begin with; the second line takes those of the book's live demo. The style is drawn from a
latent; for a reference picture's, run style_encoder.onnx on it (x and y) in the place of the mapping network.
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image

beginning, source, domain, result = sys.argv[1:5]
generator, mapping_network = (onnxruntime.InferenceSession(f"{beginning}{name}.onnx") for name in ("generator", "mapping_network"))
about = generator.get_modelmeta().custom_metadata_map
size, y = int(about["image_size"]), np.array([about["domains"].split(",").index(domain)])
z = np.random.default_rng(0).standard_normal((1, mapping_network.get_inputs()[0].shape[1]), dtype=np.float32)
picture = Image.open(source).convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
x = np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1  # [1 3 H W] in [-1, 1]
(style,) = mapping_network.run(None, {"z": z, "y": y})
(image,) = generator.run(None, {"x": x, "s": style})  # of a faces model besides: mask0 and mask1, which landmarks.onnx gives
levels = ((image[0] + 1) * 127.5).clip(0, 255).round().astype(np.uint8)
Image.fromarray(levels.transpose(1, 2, 0)).save(result)
