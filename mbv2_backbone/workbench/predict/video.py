"""Read video frames with their timestamps, and write videos from images."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec

import cv2
import numpy as np

from ...common.messages import UserError

_PLAUSIBLE_FPS = (1, 240)  # files without a frame rate state their clock instead
_DEFAULT_FPS = 25.0
_CLOCK = Fraction(1, 90_000)  # seconds, the clock of MPEG
_H264 = 'libx264'
# Close to the original frames, in a third of the time of x264's default.
_H264_OPTIONS = dict(crf='20', preset='veryfast')


class Video:
    """The frames of a video, rotated as its metadata says.

    Args:
        path: A video file that OpenCV reads.

    Attributes:
        fps: Frames per second, on average.
        num_frames: Number of frames that the file states; 0 if it states none.
        count: Frames read so far.

    Raises:
        UserError: If it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self._capture = cv2.VideoCapture(path)
        if not self._capture.isOpened() or self._capture.get(cv2.CAP_PROP_FRAME_WIDTH) <= 0:
            raise UserError(
                f'cannot read the video {path}; is it complete, and is its codec supported?'
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if _PLAUSIBLE_FPS[0] <= fps <= _PLAUSIBLE_FPS[1] else _DEFAULT_FPS
        self.num_frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.count = 0

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """Yield the time in seconds and the frame `(H, W, 3)` uint8 BGR."""
        time = 0.0
        while True:
            is_read, frame = self._capture.read()
            if not is_read:
                self._capture.release()
                return
            stated = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if self.count:
                # Some containers have no times; each frame must be later than the one before it.
                time = stated if stated > time else time + 1 / self.fps
            self.count += 1
            yield time, frame

    def notes(self) -> list[str]:
        """Return, after the last frame, what a user should know about the file."""
        if 0 < self.count < self.num_frames - 1:  # containers round the number that they state
            return [f'is truncated: {self.count} of its {self.num_frames} frames can be read']
        return []


class ClipWriter:
    """Writes frames as an `.mp4` in H.264, which every player and browser supports, without sound.

    Args:
        path: Path of the clip.
        fps: Frames per second.
        size_hw: Size of the frames; if a side is odd, the clip is one pixel larger.

    Raises:
        UserError: If the clip cannot be written.
    """

    def __init__(self, path: str, *, fps: float, size_hw: tuple[int, int]) -> None:
        check_can_write()
        import av

        self._odd = [(0, side % 2) for side in size_hw] + [(0, 0)]
        try:
            self._container = av.open(path, 'w')
            rate = Fraction(fps).limit_denominator(1001)
            self._stream = self._container.add_stream(_H264, rate=rate, options=_H264_OPTIONS)
            self._stream.height, self._stream.width = (side + side % 2 for side in size_hw)
            self._stream.pix_fmt = 'yuv420p'  # the only one that all players support
            self._stream.codec_context.time_base = _CLOCK
            self._container.start_encoding()  # opens the file, which may fail
        except OSError as error:
            raise UserError(f'cannot write the clip {path}: {error}') from error

    def write(self, image: np.ndarray, time: float) -> None:
        """Add a frame `(H, W, 3)` uint8 BGR at a time in seconds; times must increase."""
        import av

        image = np.ascontiguousarray(np.pad(image, self._odd, mode='edge'))
        frame = av.VideoFrame.from_ndarray(image, format='bgr24')
        frame.pts, frame.time_base = round(time / _CLOCK), _CLOCK
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write the remaining frames."""
        self._container.mux(self._stream.encode())
        self._container.close()


def check_can_write() -> None:
    """Refuse to write a clip without PyAV, or with a build of it that lacks H.264.

    Raises:
        UserError: If so; says what to install.
    """
    if find_spec('av') is not None:
        import av

        if _H264 in av.codecs_available:
            return
    raise UserError(
        f"writing videos needs PyAV with {_H264}: pip install 'mbv2_backbone[video]'; or skip "
        f'drawing with --no-draw'
    )
