"""The web page of predict.py: a real server, asked directly."""

import base64
import json
import signal
import socket
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.deploy import random_images
from helpers.serve import SIZE, Page
from PIL import Image

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.predict.predict import predict
from mbv2_backbone.workbench.serve import server
from mbv2_backbone.workbench.serve.answer import MAX_BYTES, MAX_PIXELS


def png(size_wh, mode='1'):
    data = BytesIO()
    Image.new(mode, size_wh).save(data, 'png')
    return data.getvalue()


def test_the_server_finds_what_predict_finds(page, joint, image_file, tmp_path):
    config, checkpoint, options = joint
    summary = predict(config, checkpoint, [str(image_file)], out=str(tmp_path), score_thr=0.0,
                      draw=False, cfg_options=options)  # fmt: skip
    rows = [row for row in json.loads(Path(summary.predictions).read_text()) if 'bbox' in row]
    answer = page.ask(image_file.read_bytes())
    assert (answer['width'], answer['height']) == SIZE[::-1]
    assert len(answer['boxes']) == len(rows) > 1
    for box, row in zip(answer['boxes'], rows, strict=True):
        x, y, width, height = row['bbox']
        assert box['score'] == pytest.approx(row['score'], abs=1e-3)
        assert box['xyxy'] == pytest.approx([x, y, x + width, y + height], abs=0.2)
    mask = base64.b64decode(answer['mask'].partition(',')[2])
    labels = cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_UNCHANGED)
    expected = np.asarray(Image.open(tmp_path / 'masks/image.png'))
    assert (labels == expected).mean() > 0.999
    for label, share in answer['areas'].items():
        assert share == pytest.approx((expected == int(label)).mean(), abs=1e-3)


def test_a_file_that_is_no_image_or_is_too_large_is_refused(page, image_file):
    assert 'cannot be read as an image' in page.refusal(b'hello')
    assert 'cannot be read as an image' in page.refusal(b' ')
    whole = image_file.read_bytes()
    assert 'damaged' in page.refusal(whole[: len(whole) // 2])
    for pixels in (MAX_PIXELS, 4 * MAX_PIXELS):  # Pillow gives no size for the larger one
        side = int(pixels**0.5) + 1
        assert 'more than 50 million pixels' in page.refusal(png((side, side)))
    assert '33 MB' in page.refusal(bytes(MAX_BYTES + 2**20))
    assert page.ask(whole)['boxes']


def test_an_image_is_rotated_as_its_exif_data_says(page):
    image = Image.fromarray(random_images(1, SIZE)[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    data = BytesIO()
    image.save(data, 'jpeg', exif=exif)
    answer = page.ask(data.getvalue())
    assert (answer['width'], answer['height']) == SIZE


def test_the_mask_of_a_large_image_is_reduced_to_screen_size(page):
    answer = page.ask(png((3000, 1500), 'RGB'))
    mask = Image.open(BytesIO(base64.b64decode(answer['mask'].partition(',')[2])))
    assert mask.size == (1600, 800)


def test_a_server_in_the_background_of_a_script_reports_its_stop(joint):
    # A shell without job control has SIGINT ignored in what it starts with `&`.
    page = Page(*joint, before=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    urllib.request.urlopen(page.url, timeout=60).close()  # once it answers, it handles signals
    assert page.stop() == (0, 'Stopped\n')


def test_many_users_at_once_get_the_same(page, image_file):
    data = image_file.read_bytes()
    expected = page.ask(data)['boxes']
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(page.ask, [data] * 12))
    assert all(answer['boxes'] == expected for answer in answers)


def test_requests_with_another_host_name_are_refused(page, image_file):
    assert 'Invalid host' in page.refusal(image_file.read_bytes(), Host='example.org')


def test_requests_from_another_site_are_refused(page, image_file):
    data = image_file.read_bytes()
    host = page.url.partition('//')[2]
    others = 'http://example.org', f'http://{host}0', 'http://127.0.0.1', 'null'
    for origin in others:
        assert 'other sites' in page.refusal(data, 403, Origin=origin)
    assert page.ask(data, Origin=page.url)['boxes']


@pytest.mark.parametrize(
    ('host', 'address', 'expected'),
    [
        ('127.0.0.1', '127.0.0.1', {'127.0.0.1', 'localhost'}),
        ('127.0.0.2', '127.0.0.2', {'127.0.0.1', 'localhost', '127.0.0.2'}),
        ('box', '127.0.1.1', {'127.0.0.1', 'localhost', 'box', '127.0.1.1'}),
        ('0.0.0.0', '0.0.0.0', {'*'}),
        ('box', '192.168.0.7', {'*'}),
    ],
)
def test_on_an_address_of_this_machine_only_its_names_are_allowed(host, address, expected):
    assert set(server.allowed_hosts(host, address)) == expected


def test_more_connections_than_can_be_served_are_refused(page, image_file):
    data = image_file.read_bytes()
    place = page.url.partition('//')[2].split(':')
    with ExitStack() as stack:
        for _ in range(server.MAX_CONNECTIONS):
            stack.enter_context(socket.create_connection(place))
        page.refusal(data, 503)
    assert page.ask(data)['boxes']


def test_a_taken_port_and_missing_packages_are_named(monkeypatch):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f'port {port}.*--port'):
            server.serve('none.py', 'none.pth', port=port)
    with pytest.raises(UserError, match='--port'):
        server.serve('none.py', 'none.pth', port=70000)
    monkeypatch.setattr(server, 'find_spec', lambda name: None if name == 'uvicorn' else name)
    with pytest.raises(UserError, match='pip install uvicorn'):
        server.serve('none.py', 'none.pth')
