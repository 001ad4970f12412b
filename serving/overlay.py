"""A picture of the prediction: the mask's colours over the image."""

import io

import numpy as np
from PIL import Image

from trainer.data.pictures import rgb

_OPACITY = 0.5  # of the mask's colours


def overlay_png(image_bytes: bytes, mask_bytes: bytes) -> bytes:
    """Draws a palette PNG mask over its image; background (id 0) stays clear.

    Args:
      image_bytes: the encoded image of H x W pixels, a JPEG or PNG.
      mask_bytes: palette PNG of H x W ids, as served.

    Returns:
      RGB PNG bytes of H x W pixels.
    """
    image = np.asarray(rgb(image_bytes), np.float32)
    mask = Image.open(io.BytesIO(mask_bytes))
    share = _OPACITY * (np.asarray(mask) > 0)[..., np.newaxis]
    blended = image * (1 - share) + np.asarray(mask.convert("RGB"), np.float32) * share
    buffer = io.BytesIO()
    Image.fromarray(np.round(blended).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
