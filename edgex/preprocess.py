"""From a frame to the network's input. Training uses this very function, so that the device sees what training saw."""

from __future__ import annotations

import numpy as np

from edgex import native
from edgex.manifest import InputSpec
from edgex.types import FloatArray, Image, require_image


def resize_area(image: Image, height: int, width: int) -> Image:
    """Resize by the manifest's rule "area", each axis on its own.

    Where an axis shrinks, a target pixel is the mean of the source interval it covers (no aliasing); where it
    grows, it is bilinear with half-pixel centres. OpenCV does either, but not both at once, hence two steps.

    Parameters
    ----------
    image : uint8 [H, W, 3]
    height, width : target size in pixels

    Returns
    -------
    uint8 [height, width, 3]
    """
    import cv2

    rows, columns = image.shape[:2]
    shrunk = (min(width, columns), min(height, rows))
    if shrunk != (columns, rows):
        image = np.asarray(cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA), np.uint8)
    if shrunk != (width, height):
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return image


def preprocess(image: Image, spec: InputSpec) -> FloatArray:
    """Turn one picture into the network's input, by the CPU kernels where they are there.

    Parameters
    ----------
    image : uint8 [H, W, 3], BGR
    spec : size, colour order, mean and std of the network's input

    Returns
    -------
    float32 [1, 3, spec.height, spec.width]
    """
    if native.available():
        return native.preprocess(image, spec)
    return preprocess_opencv(image, spec)


def preprocess_opencv(image: Image, spec: InputSpec) -> FloatArray:
    """Do what `preprocess` does, with OpenCV; a value may differ by one of the picture's 255 levels."""
    small = resize_area(require_image(image), spec.height, spec.width)
    planes = small.transpose(2, 0, 1) if spec.color == "BGR" else small.transpose(2, 0, 1)[::-1]
    scale = (1.0 / (255.0 * np.asarray(spec.std))).astype(np.float32)
    offset = (-np.asarray(spec.mean) / np.asarray(spec.std)).astype(np.float32)
    tensor = np.empty((1, 3, spec.height, spec.width), np.float32)
    for channel, plane in enumerate(planes):  # one plane after the other: no float picture in another order besides
        np.multiply(plane, scale[channel], out=tensor[0, channel])
        tensor[0, channel] += offset[channel]
    return tensor
