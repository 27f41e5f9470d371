"""Which axis of an array of images is which."""

import numpy as np
from jaxtyping import UInt8

from clusterlab.errors import UserError

CHANNELS = (1, 3)


def channels_last(images: np.ndarray, where: str) -> UInt8[np.ndarray, "n y x c"]:
    """Return a view of `images` as n×y×x×c; `where` they come from begins an error's line.

    Raises:
        UserError: the dtype is not uint8, or the shape does not tell which axis is which.
    """
    shape = "×".join(str(length) for length in images.shape) or "one number"
    if images.dtype != np.uint8:
        raise UserError(
            f"{where}: the images are {images.dtype}, not uint8: bring their values to 0..255 (times 255, if "
            "they are in [0, 1]) and save images.round().astype('uint8')"
        )
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise UserError(f"{where}: the images are {shape}: save them as n×y×x, n×y×x×c or n×c×y×x with c 1 or 3")
    last, second = images.shape[-1] in CHANNELS, images.ndim == 4 and images.shape[1] in CHANNELS
    if images.ndim == 3 and not last:
        return images[..., None]
    if images.ndim == 4 and last != second:
        return images if last else images.transpose(0, 2, 3, 1)
    problem = "may be read in two ways" if last else "have no axis of 1 or 3 channels"
    raise UserError(
        f"{where}: the images are {shape} and {problem}: save them as n×y×x×c with c 1 or 3, y and x above 3"
    )
