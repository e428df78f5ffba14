"""The web page of predict.py: a real server, asked directly and through Chromium."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser_util import requested, start_browser
from deploy_util import DETECTION, JOINT, SEGMENTATION, pictures, write_config
from paths_util import ROOT
from PIL import Image

from mbv2_backbone.engine.predict import predict
from mbv2_backbone.errors import UserError
from mbv2_backbone.serve import server
from mbv2_backbone.serve.answer import MAX_BYTES, MAX_PIXELS

pytest.importorskip('starlette')
pytest.importorskip('uvicorn')

SIZE = (96, 128)
ENV = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')


class Page:
    """`tools/predict.py --serve` on a free port."""

    def __init__(self, config, checkpoint, options, before=None):
        command = [sys.executable, str(ROOT / 'tools/predict.py'), config, checkpoint, '--serve',
                   '--port', '0', '--cfg-options', *options]  # fmt: skip
        self.process = subprocess.Popen(
            command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=before,
        )  # fmt: skip
        said = []
        for line in self.process.stdout:
            said.append(line)
            if line.startswith('Serving on '):
                self.url = line.split()[2]
                return
        raise AssertionError(''.join(said))

    def ask(self, data, **headers):
        request = urllib.request.Request(f'{self.url}/predict', data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def refusal(self, data, code=400, **headers):
        with pytest.raises(urllib.error.HTTPError) as info:
            self.ask(data, **headers)
        assert info.value.code == code
        return info.value.read().decode()

    def stop(self):
        """Press Ctrl-C; return the exit status and what was said."""
        self.process.send_signal(signal.SIGINT)
        said, _ = self.process.communicate(timeout=30)
        return self.process.returncode, said


@pytest.fixture(scope='module')
def joint(sample_set, tmp_path_factory):
    folder = tmp_path_factory.mktemp('joint')
    return write_config(folder, JOINT, 'ssdlite-deeplabv3_mbv2_sample', sample_set)


@pytest.fixture(scope='module')
def page(joint):
    page = Page(*joint)
    yield page
    status, said = page.stop()
    assert status == 0, said
    assert 'Stopped' in said.splitlines()
    assert 'Traceback' not in said


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    browser = start_browser(tmp_path_factory.mktemp('profile'))
    yield browser
    browser.quit()


@pytest.fixture(scope='module')
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp('picture') / 'picture.png'
    Image.fromarray(pictures(1, SIZE)[0]).save(path)
    return path


def png(size_wh, mode='1'):
    data = BytesIO()
    Image.new(mode, size_wh).save(data, 'png')
    return data.getvalue()


def test_the_server_finds_what_predict_finds(page, joint, picture, tmp_path):
    config, checkpoint, options = joint
    summary = predict(config, checkpoint, [str(picture)], out=str(tmp_path), score_thr=0.0,
                      draw=False, cfg_options=options)  # fmt: skip
    rows = [row for row in json.loads(Path(summary.predictions).read_text()) if 'bbox' in row]
    answer = page.ask(picture.read_bytes())
    assert (answer['width'], answer['height']) == SIZE[::-1]
    assert len(answer['boxes']) == len(rows) > 1
    for box, row in zip(answer['boxes'], rows, strict=True):
        x, y, width, height = row['bbox']
        assert box['score'] == pytest.approx(row['score'], abs=1e-3)
        assert box['xyxy'] == pytest.approx([x, y, x + width, y + height], abs=0.2)
    mask = base64.b64decode(answer['mask'].partition(',')[2])
    labels = cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_UNCHANGED)
    expected = np.asarray(Image.open(tmp_path / 'masks/picture.png'))
    assert (labels == expected).mean() > 0.999
    for label, share in answer['areas'].items():
        assert share == pytest.approx((expected == int(label)).mean(), abs=1e-3)


def test_what_is_no_picture_or_too_large_is_named(page, picture):
    assert 'no image' in page.refusal(b'hello')
    assert 'no image' in page.refusal(b' ')
    whole = picture.read_bytes()
    assert 'damaged' in page.refusal(whole[: len(whole) // 2])
    for pixels in (MAX_PIXELS, 4 * MAX_PIXELS):  # of the larger, Pillow does not tell the size
        side = int(pixels**0.5) + 1
        assert 'more than 50 million pixels' in page.refusal(png((side, side)))
    assert '33 MB' in page.refusal(bytes(MAX_BYTES + 2**20))
    assert page.ask(whole)['boxes']


def test_a_picture_that_must_be_turned_is(page):
    image = Image.fromarray(pictures(1, SIZE)[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    data = BytesIO()
    image.save(data, 'jpeg', exif=exif)
    answer = page.ask(data.getvalue())
    assert (answer['width'], answer['height']) == SIZE


def test_a_large_picture_gets_a_mask_for_the_screen(page):
    answer = page.ask(png((3000, 1500), 'RGB'))
    mask = Image.open(BytesIO(base64.b64decode(answer['mask'].partition(',')[2])))
    assert mask.size == (1600, 800)


def test_it_says_that_it_stopped_in_the_background_of_a_script(joint):
    # A shell without job control has SIGINT ignored in what it starts with `&`.
    page = Page(*joint, before=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    urllib.request.urlopen(page.url, timeout=60).close()  # it listens to signals once it answers
    assert page.stop() == (0, 'Stopped\n')


def test_many_users_at_once_get_the_same(page, picture):
    data = picture.read_bytes()
    expected = page.ask(data)['boxes']
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(page.ask, [data] * 12))
    assert all(answer['boxes'] == expected for answer in answers)


def test_requests_in_the_name_of_another_host_are_refused(page, picture):
    assert 'Invalid host' in page.refusal(picture.read_bytes(), Host='example.org')


def test_requests_for_the_page_of_another_site_are_refused(page, picture):
    data = picture.read_bytes()
    host = page.url.partition('//')[2]
    strangers = 'http://example.org', f'http://{host}0', 'http://127.0.0.1', 'null'
    for origin in strangers:
        assert 'another site' in page.refusal(data, 403, Origin=origin)
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


def test_more_connections_than_can_be_served_are_refused(page, picture):
    data = picture.read_bytes()
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


def upload(browser, path):
    """Give the page a file and wait until it has said something of it."""
    browser.execute_script("document.getElementById('message').textContent = ''")
    browser.find_element('id', 'file').send_keys(str(path))
    return wait_for_message(browser)


def wait_for_message(browser):
    from selenium.webdriver.support.ui import WebDriverWait

    message = browser.find_element('id', 'message')
    WebDriverWait(browser, 60).until(lambda _: message.text not in ('', 'Predicting …'))
    return message


def wait_until_loaded(browser):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 60).until(lambda _: browser.find_element('id', 'model').text)


def number(browser, name):
    return int(browser.find_element('id', name).text)


def set_threshold(browser, value):
    browser.execute_script(
        "const slider = document.getElementById('threshold'); slider.value = arguments[0];"
        "slider.dispatchEvent(new Event('input'));",
        value,
    )


def canvas(browser):
    """Return the drawn picture, RGB."""
    url = browser.execute_script("return document.getElementById('picture').toDataURL()")
    data = BytesIO(base64.b64decode(url.partition(',')[2]))
    return np.asarray(Image.open(data).convert('RGB')).astype(int)


def test_the_page_in_a_browser(page, browser, picture, tmp_path):
    browser.get(page.url)
    assert upload(browser, picture).text == picture.name
    assert {url.partition(page.url)[2] for url in requested(browser)} == {
        '/', '/about', '/page.css', '/page.js', '/predict'
    }  # fmt: skip
    total = number(browser, 'total')
    scores = [box['score'] for box in page.ask(picture.read_bytes())['boxes']]
    assert number(browser, 'count') == sum(score >= 0.3 for score in scores)
    middle = round(float(np.median(scores)), 2)
    set_threshold(browser, middle)
    assert 0 < number(browser, 'count') == sum(score >= middle for score in scores) < total
    set_threshold(browser, 0)
    assert number(browser, 'count') == total > 1
    rows = browser.find_elements('css selector', '#boxes tbody tr')
    assert len(rows) == total
    with_boxes = canvas(browser)
    assert max(with_boxes.shape[:2]) == 960
    set_threshold(browser, 1)
    assert number(browser, 'count') == 0
    assert not browser.find_elements('css selector', '#boxes tbody tr')
    masks_alone = canvas(browser)
    assert (with_boxes != masks_alone).any(-1).mean() > 0.01
    for box in browser.find_elements('css selector', '#classes input'):
        box.click()
    bare = canvas(browser)
    assert (bare != masks_alone).any(-1).mean() > 0.9
    shown = cv2.resize(bare.astype(np.uint8), SIZE[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(shown.astype(int) - np.asarray(Image.open(picture))).mean() < 3
    set_threshold(browser, 0)
    assert number(browser, 'count') == 0  # all classes are hidden
    assert not requested(browser)  # of all this the server has heard nothing
    assert 'ms' in browser.find_element('id', 'time').text
    assert browser.get_log('browser') == []


DROP = """
const [data, name, target] = arguments;
const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
const dataTransfer = new DataTransfer();
dataTransfer.items.add(new File([bytes], name, { type: 'image/png' }));
document.getElementById('message').textContent = '';
return ['dragenter', 'dragover', 'drop'].map((kind) => document.querySelector(target)
  .dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true })));
"""


@pytest.mark.parametrize('target', ['#drop', 'h1', 'body'])
def test_a_picture_may_be_dropped_anywhere(target, page, browser, picture):
    browser.get(page.url)
    wait_until_loaded(browser)
    data = base64.b64encode(picture.read_bytes()).decode()
    shown_by_browser = browser.execute_script(DROP, data, picture.name, target)
    assert shown_by_browser == [False] * 3
    assert wait_for_message(browser).text == picture.name
    assert number(browser, 'total') == len(page.ask(picture.read_bytes())['boxes'])
    assert 'over' not in browser.find_element('id', 'drop').get_attribute('class')


def test_a_bad_file_gives_a_message_on_the_page(page, browser, picture, tmp_path):
    browser.get(page.url)
    (tmp_path / 'text.png').write_text('no picture')
    message = upload(browser, tmp_path / 'text.png')
    assert 'no image' in message.text
    assert 'error' in message.get_attribute('class')
    (tmp_path / 'large.png').write_bytes(bytes(MAX_BYTES + 2**20))
    assert '33 MB' in upload(browser, tmp_path / 'large.png').text
    assert not browser.find_element('id', 'picture').is_displayed()
    assert 'error' not in upload(browser, picture).get_attribute('class')
    # Chromium itself reports the 400 of the first file, and nothing else.
    (entry,) = browser.get_log('browser')
    assert '/predict' in entry['message']


def test_a_picture_that_comes_before_the_page_is_ready_is_not_lost(page, browser, picture):
    browser.get(page.url)
    browser.execute_cdp_cmd('Network.enable', {})
    conditions = dict(offline=False, downloadThroughput=-1, uploadThroughput=-1)
    browser.execute_cdp_cmd('Network.emulateNetworkConditions', dict(conditions, latency=3000))
    try:
        browser.refresh()
        assert browser.find_element('id', 'model').text == ''
        assert upload(browser, picture).text == picture.name
    finally:
        browser.execute_cdp_cmd('Network.emulateNetworkConditions', dict(conditions, latency=0))


@pytest.mark.slow
@pytest.mark.parametrize('task', ['det', 'seg', 'exported'])
def test_other_models_have_a_page(task, browser, picture, sample_set, tmp_path):
    is_seg = task == 'seg'
    text, base = (
        (SEGMENTATION, 'deeplabv3_mbv2_sample') if is_seg else (DETECTION, 'ssdlite_mbv2_sample')
    )
    config, checkpoint, options = write_config(tmp_path, text, base, sample_set)
    if task == 'exported':
        pytest.importorskip('onnxruntime')
        # In a process of its own: the runtime's threads must not get into this one.
        command = [
            sys.executable,
            str(ROOT / 'tools/export.py'),
            config,
            checkpoint,
            '--to',
            'onnx',
        ]
        command += ['--out', str(tmp_path), '--cfg-options', *options]
        subprocess.run(command, check=True, env=ENV)
        (checkpoint,) = map(str, tmp_path.glob('*.onnx'))
    page = Page(config, checkpoint, options)
    try:
        browser.get(page.url)
        assert upload(browser, picture).text == picture.name
        assert browser.find_element('id', 'areas').is_displayed() == is_seg
        assert browser.find_element('id', 'boxes').is_displayed() != is_seg
        assert browser.find_element('id', 'threshold').is_displayed() != is_seg
        assert browser.get_log('browser') == []
    finally:
        status, said = page.stop()
    assert status == 0, said
