"""Put frames of the shipped clip in the place of every second photograph among the calibration frames.

What `build` checks an engine on must show masks, else its figures say nothing, and of the photographs a tenth does.

    python -m training.shipped.clip_frames edgex/models/shipped.mp4 edgex/models/calibration
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2

from edgex.frames import read_frames

FRAMES = 64
FIRST = 64  # after the photographs of `training.shipped.frames`
SIZE = (400, 225)  # above the network's 224 x 224 on either side, so that preprocessing shrinks as it will on a device
QUALITY = 65


def main() -> None:
    clip, folder = sys.argv[1:]
    for number in range(1, FIRST, 2):
        Path(folder, f"{number:03d}.jpg").unlink(missing_ok=True)
    for number, frame in enumerate(read_frames(clip, FRAMES), start=FIRST):
        small = cv2.resize(frame.image, SIZE, interpolation=cv2.INTER_AREA)
        whole, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        assert whole
        Path(folder, f"{number:03d}.jpg").write_bytes(encoded.data)


if __name__ == "__main__":
    main()
