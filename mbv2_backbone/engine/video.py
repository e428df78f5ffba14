"""Videos: their frames with their times, and clips that are written from pictures."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec

import cv2
import numpy as np

from ..errors import UserError

_PLAUSIBLE_FPS = (1, 240)  # files without a frame rate state their clock in its place
_DEFAULT_FPS = 25.0
_CLOCK = 90_000  # ticks a second, the clock of MPEG
_H264 = 'libx264'
# Nearly the pictures that went in, at a third of the time of x264's default.
_H264_OPTIONS = dict(crf='20', preset='veryfast')


class Video:
    """The frames of a video, turned as its metadata says.

    Args:
        path: A video file that OpenCV reads.

    Attributes:
        fps: Frames a second, on average.
        num_frames: How many the file says it has; 0 where it does not say.
        count: Frames read so far.
        is_uneven: Whether a frame so far came more than half a frame early or late.

    Raises:
        UserError: If it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self._capture = cv2.VideoCapture(path)
        if not self._capture.isOpened() or self._capture.get(cv2.CAP_PROP_FRAME_WIDTH) <= 0:
            raise UserError(f'cannot read the video {path}; is it whole, and is its codec known?')
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if _PLAUSIBLE_FPS[0] <= fps <= _PLAUSIBLE_FPS[1] else _DEFAULT_FPS
        self.num_frames = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.count = 0
        self.is_uneven = False

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
                # Some containers have no times; no frame comes before the one that it follows.
                passed = stated - time if stated > time else 1 / self.fps
                self.is_uneven |= abs(passed * self.fps - 1) > 0.5
                time += passed
            self.count += 1
            yield time, frame

    def notes(self) -> list[str]:
        """Tell, after the last frame, what a user should know of the file and its clip."""
        notes = []
        if 0 < self.count < self.num_frames - 1:  # containers round the number that they state
            notes.append(f'breaks off: {self.count} of its {self.num_frames} frames can be read')
        if not has_h264():
            uneven = ' and have an even frame rate, unlike this one' if self.is_uneven else ''
            notes.append(
                f'is written as MPEG-4 part 2: clips in it do not play in browsers{uneven}; '
                f'pip install av for H.264'
            )
        return notes


class ClipWriter:
    """Writes pictures as an `.mp4`, without sound.

    With PyAV it is H.264, which every player and browser shows, and each picture keeps its time.
    OpenCV alone writes MPEG-4 part 2 of an even frame rate, which browsers do not play.

    Args:
        path: Of the clip.
        fps: Frames a second.
        size_hw: Of the pictures; where a side is odd, the clip is one pixel larger.

    Attributes:
        is_h264: Whether it is H.264.

    Raises:
        UserError: If the clip cannot be written.
    """

    def __init__(self, path: str, *, fps: float, size_hw: tuple[int, int]) -> None:
        self.is_h264 = has_h264()
        self._odd = [(0, side % 2) for side in size_hw] + [(0, 0)]
        height, width = (side + side % 2 for side in size_hw)
        kind = _H264Clip if self.is_h264 else _Mpeg4Clip
        try:
            self._clip = kind(path, fps, width, height)
        except OSError as error:
            raise UserError(f'cannot write the clip {path}: {error}') from error

    def write(self, picture: np.ndarray, time: float) -> None:
        """Add a picture `(H, W, 3)` uint8 BGR at a time in seconds; times must rise."""
        self._clip.write(np.ascontiguousarray(np.pad(picture, self._odd, mode='edge')), time)

    def close(self) -> None:
        """Write what is left."""
        self._clip.close()


def has_h264() -> bool:
    """Tell whether H.264 can be written: some builds of PyAV leave it out."""
    if find_spec('av') is None:
        return False
    import av

    return _H264 in av.codecs_available


class _H264Clip:
    def __init__(self, path: str, fps: float, width: int, height: int) -> None:
        import av

        self._container = av.open(path, 'w')
        rate = Fraction(fps).limit_denominator(1001)
        self._stream = self._container.add_stream(_H264, rate=rate, options=_H264_OPTIONS)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = 'yuv420p'  # the only one that all players know
        self._stream.codec_context.time_base = Fraction(1, _CLOCK)
        self._container.start_encoding()  # opens the file, which may fail

    def write(self, picture: np.ndarray, time: float) -> None:
        import av

        frame = av.VideoFrame.from_ndarray(picture, format='bgr24')
        frame.pts, frame.time_base = round(time * _CLOCK), Fraction(1, _CLOCK)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


class _Mpeg4Clip:
    def __init__(self, path: str, fps: float, width: int, height: int) -> None:
        self._writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'mp4v'), fps, (width, height))
        if not self._writer.isOpened():
            raise OSError('OpenCV cannot open it')

    def write(self, picture: np.ndarray, _time: float) -> None:
        self._writer.write(picture)

    def close(self) -> None:
        self._writer.release()
