"""Videos: the annotated copy has the same frames; unusual and broken files."""

import json
import struct
import sys
from fractions import Fraction
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from helpers.browser import start_browser
from helpers.deploy import DETECTION, JOINT, random_images, write_config

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.predict import video
from mbv2_backbone.workbench.predict.coco_rows import CocoRows
from mbv2_backbone.workbench.predict.file_predictor import FilePredictor
from mbv2_backbone.workbench.predict.predict import predict
from mbv2_backbone.workbench.predict.video import ClipWriter, Video

COUNT = 12


def frames_of(size, count=COUNT):
    """Return smooth frames that differ, and that survive compression."""
    first, last = random_images(2, size).astype(float)
    return [
        np.ascontiguousarray((first + (last - first) * i / count).astype(np.uint8))
        for i in range(count)
    ]


def write_cv(path, frames, *, fps=12.5, code='mp4v'):
    size = frames[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), fps, size)
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def write_av(path, frames, milliseconds):
    """Write frames with their times, without chroma subsampling, which allows odd sizes."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = 'yuv444p'
        stream.codec_context.time_base = Fraction(1, 1000)
        for frame, time in zip(frames, milliseconds, strict=True):
            coded = av.VideoFrame.from_ndarray(frame, format='bgr24')
            coded.pts, coded.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(coded))
        container.mux(stream.encode())
    return path


def read(path):
    clip = Video(str(path))
    times, frames = zip(*clip, strict=True)
    return clip, times, frames


@pytest.fixture(scope='module')
def models(sample_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp('models')
    return {
        'det': write_config(folder, DETECTION, 'ssdlite_mbv2_sample', sample_dataset),
        'joint': write_config(folder, JOINT, 'ssdlite-deeplabv3_mbv2_sample', sample_dataset),
    }


def run(model, inputs, out, **kwargs):
    config, checkpoint, options = model
    return predict(
        config, checkpoint, [str(path) for path in inputs], out=str(out), cfg_options=options,
        **kwargs,
    )  # fmt: skip


@pytest.mark.parametrize('task', ['det', 'joint'])
def test_the_output_video_shows_the_predictions(models, task, tmp_path):
    path = write_cv(tmp_path / 'clip.mp4', frames_of((96, 128)))
    summary = run(models[task], [path], tmp_path / 'out', score_thr=0.2)
    source, times, frames = read(path)
    clip, clip_times, shown = read(tmp_path / 'out/clip.mp4')
    assert len(shown) == len(frames) == summary.num_images == COUNT
    assert clip.fps == pytest.approx(source.fps, rel=1e-3)
    assert clip_times == pytest.approx(times, abs=2e-3)
    assert summary.video_fps[str(path)] > 0
    assert summary.notes == []
    config, checkpoint, options = models[task]
    predictor = FilePredictor(load_config(config, options), checkpoint, score_thr=0.2)
    for frame, got in zip(frames, shown, strict=True):
        expected = predictor.painter.prediction(frame, predictor([frame])[0], whole_legend=True)
        height, width = expected.shape[:2]
        assert got.shape[:2] == (height + height % 2, width + width % 2)
        got = got[: frame.shape[0], : frame.shape[1]].astype(int)
        bare, drawn = frame, expected[: frame.shape[0], : frame.shape[1]]
        assert np.abs(got - drawn).mean() < np.abs(got - bare).mean() / 2
    rows = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert {row['frame'] for row in rows} == set(range(COUNT))


@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError])
def test_an_interrupted_run_keeps_its_finished_frames(error, models, monkeypatch, tmp_path):
    path = write_cv(tmp_path / 'clip.mp4', frames_of((96, 128)))
    make_rows = CocoRows.__call__

    def fail_late(rows, sample, image_id, file_name):
        if image_id == COUNT - 4:
            raise error
        return make_rows(rows, sample, image_id, file_name)

    monkeypatch.setattr(CocoRows, '__call__', fail_late)
    with pytest.raises(error):
        run(models['det'], [path], tmp_path / 'out', score_thr=0.0)
    _, _, shown = read(tmp_path / 'out/clip.mp4')
    assert len(shown) == COUNT - 4
    assert not (tmp_path / 'out/predictions.json').exists()
    rows = json.loads((tmp_path / 'out/predictions.json.part').read_text())
    assert {row['frame'] for row in rows} == set(range(COUNT - 4))


def test_odd_sides_are_padded(tmp_path):
    frames = [frame[:95, :127] for frame in frames_of((96, 128))]
    clip = ClipWriter(str(tmp_path / 'odd.mp4'), fps=10, size_hw=(95, 127))
    for i, frame in enumerate(frames):
        clip.write(frame, i / 10)
    clip.close()
    _, _, shown = read(tmp_path / 'odd.mp4')
    assert len(shown) == COUNT
    for frame, got in zip(frames, shown, strict=True):
        assert got.shape == (96, 128, 3)
        assert np.abs(got[:95, :127].astype(int) - frame).mean() < 7
        assert np.abs(got[95, :127].astype(int) - frame[94]).mean() < 9


def test_a_video_of_odd_sides_is_read(models, tmp_path):
    frames = [np.ascontiguousarray(frame[:95, :127]) for frame in frames_of((96, 128))]
    path = write_av(tmp_path / 'odd.mp4', frames, range(0, 40 * COUNT, 40))
    run(models['det'], [path], tmp_path / 'out')
    _, _, shown = read(tmp_path / 'out/odd.mp4')
    assert len(shown) == COUNT
    assert shown[0].shape == (96, 128, 3)


def test_a_rotated_video_is_rotated_back(tmp_path):
    """The matrix of the track header says how a phone was held."""
    frames = frames_of((64, 128))
    path = write_cv(tmp_path / 'turned.mp4', frames)
    data = path.read_bytes()
    upright = struct.pack('>9i', 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    turned = struct.pack('>9i', 0, 1 << 16, 0, -(1 << 16), 0, 0, 64 << 16, 0, 1 << 30)
    track = data.index(b'tkhd')
    start = data.index(upright, track)
    path.write_bytes(data[:start] + turned + data[start + len(turned) :])
    _, _, shown = read(path)
    assert shown[0].shape == (128, 64, 3)
    expected = cv2.rotate(frames[0], cv2.ROTATE_90_CLOCKWISE)
    assert np.abs(shown[0].astype(int) - expected).mean() < 6


def test_a_broken_tail_is_reported_and_the_rest_is_predicted(models, tmp_path):
    path = write_cv(tmp_path / 'cut.avi', frames_of((96, 128), 40), code='MJPG')
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    _, _, shown = read(path)
    assert 10 < len(shown) < 35
    summary = run(models['det'], [path], tmp_path / 'out')
    assert summary.num_images == len(shown)
    assert any(f'{len(shown)} of its 40 frames' in note for note in summary.notes)
    assert len(read(tmp_path / 'out/cut.mp4')[2]) == len(shown)


def test_a_whole_video_is_not_called_broken(models, tmp_path):
    path = write_cv(tmp_path / 'whole.avi', frames_of((96, 128)), code='MJPG')
    summary = run(models['det'], [path], tmp_path, draw=False)
    assert not any('breaks off' in note for note in summary.notes)
    assert not (tmp_path / 'whole.mp4').exists()


def test_a_video_that_cannot_be_read_does_not_stop_the_others(models, tmp_path):
    broken = write_cv(tmp_path / 'broken.mp4', frames_of((96, 128)))
    broken.write_bytes(broken.read_bytes()[:3000])  # without the index at its end
    with pytest.raises(UserError, match='cannot read the video'):
        Video(str(broken))
    whole = write_cv(tmp_path / 'whole.mp4', frames_of((96, 128)))
    summary = run(models['det'], [broken, whole], tmp_path / 'out')
    assert summary.unreadable == [str(broken)]
    assert summary.num_images == COUNT
    with pytest.raises(UserError, match=r'none of the inputs.*broken\.mp4'):
        run(models['det'], [broken], tmp_path / 'out')


TIMES = [0, 30, 200, 230, 390, 420, 640, 690, 700, 900, 950, 1200]


def test_uneven_frame_times_are_kept(models, tmp_path):
    path = write_av(tmp_path / 'uneven.mp4', frames_of((96, 128)), TIMES)
    summary = run(models['det'], [path], tmp_path / 'out')
    assert summary.notes == []
    _, times, shown = read(tmp_path / 'out/uneven.mp4')
    assert len(shown) == COUNT
    assert times == pytest.approx([time / 1000 for time in TIMES], abs=2e-3)


@pytest.mark.parametrize('av', [None, SimpleNamespace(codecs_available={'mpeg4'})])
def test_a_missing_video_writer_is_reported_before_predicting(models, tmp_path, monkeypatch, av):
    path = write_cv(tmp_path / 'clip.mp4', frames_of((96, 128)))
    monkeypatch.setattr(video, 'find_spec', lambda _: av)
    monkeypatch.setitem(sys.modules, 'av', av)
    with pytest.raises(UserError, match=r"pip install 'mbv2_backbone\[video\]'.*--no-draw"):
        run(models['det'], [path], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    with pytest.raises(UserError, match='PyAV'):
        ClipWriter(str(tmp_path / 'new.mp4'), fps=25, size_hw=(96, 128))
    summary = run(models['det'], [path], tmp_path / 'out', draw=False)
    assert summary.num_images == COUNT


def test_an_output_video_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match='cannot write the clip'):
        ClipWriter(str(tmp_path / 'nowhere/clip.mp4'), fps=25, size_hw=(96, 128))


def test_a_browser_plays_the_output_video(models, tmp_path):
    path = write_cv(tmp_path / 'clip.mp4', frames_of((96, 128)))
    run(models['det'], [path], tmp_path / 'out')
    (tmp_path / 'out/page.html').write_text('<video src="clip.mp4" muted></video>')
    browser = start_browser(tmp_path / 'profile')

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=tmp_path / 'out')

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as httpd:
        Thread(target=httpd.serve_forever, daemon=True).start()
        try:
            browser.get(f'http://127.0.0.1:{httpd.server_port}/page.html')
            browser.set_script_timeout(30)
            played = browser.execute_async_script(
                """
                const done = arguments[0], video = document.querySelector('video');
                video.onended = () => done([video.videoWidth, video.videoHeight, video.duration]);
                video.onerror = () => done(video.error.message);
                video.play().catch((error) => done(String(error)));
                """
            )
        finally:
            browser.quit()
            httpd.shutdown()
    assert played[:2] == [128, 96]
    assert played[2] == pytest.approx(COUNT / 12.5, abs=0.1)
