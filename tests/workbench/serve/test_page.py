"""The web page of predict.py in Chromium."""

import base64
import subprocess
import sys
from io import BytesIO

import cv2
import numpy as np
import pytest
from helpers.browser import requested
from helpers.deploy import DETECTION, SEGMENTATION, write_config
from helpers.paths import ROOT
from helpers.serve import ENV, SIZE, Page
from PIL import Image

from mbv2_backbone.workbench.serve.answer import MAX_BYTES


def upload(browser, path):
    """Give the page a file and wait for its message."""
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
    """Return the drawing on the page, RGB."""
    url = browser.execute_script("return document.getElementById('drawing').toDataURL()")
    data = BytesIO(base64.b64decode(url.partition(',')[2]))
    return np.asarray(Image.open(data).convert('RGB')).astype(int)


def test_the_page_in_a_browser(page, browser, image_file, tmp_path):
    browser.get(page.url)
    assert upload(browser, image_file).text == image_file.name
    assert {url.partition(page.url)[2] for url in requested(browser)} == {
        '/', '/about', '/draw.js', '/page.css', '/page.js', '/panel.js', '/predict'
    }  # fmt: skip
    total = number(browser, 'total')
    scores = [box['score'] for box in page.ask(image_file.read_bytes())['boxes']]
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
    assert np.abs(shown.astype(int) - np.asarray(Image.open(image_file))).mean() < 3
    set_threshold(browser, 0)
    assert number(browser, 'count') == 0  # all classes are hidden
    assert not requested(browser)  # all this without a request to the server
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
def test_an_image_may_be_dropped_anywhere(target, page, browser, image_file):
    browser.get(page.url)
    wait_until_loaded(browser)
    data = base64.b64encode(image_file.read_bytes()).decode()
    shown_by_browser = browser.execute_script(DROP, data, image_file.name, target)
    assert shown_by_browser == [False] * 3
    assert wait_for_message(browser).text == image_file.name
    assert number(browser, 'total') == len(page.ask(image_file.read_bytes())['boxes'])
    assert 'over' not in browser.find_element('id', 'drop').get_attribute('class')


def test_a_bad_file_gives_a_message_on_the_page(page, browser, image_file, tmp_path):
    browser.get(page.url)
    (tmp_path / 'text.png').write_text('no image')
    message = upload(browser, tmp_path / 'text.png')
    assert 'cannot be read as an image' in message.text
    assert 'error' in message.get_attribute('class')
    (tmp_path / 'large.png').write_bytes(bytes(MAX_BYTES + 2**20))
    assert '33 MB' in upload(browser, tmp_path / 'large.png').text
    assert not browser.find_element('id', 'drawing').is_displayed()
    assert 'error' not in upload(browser, image_file).get_attribute('class')
    # Chromium itself reports the 400 of the first file, and nothing else.
    (entry,) = browser.get_log('browser')
    assert '/predict' in entry['message']


def test_an_image_uploaded_before_the_page_is_ready_is_not_lost(page, browser, image_file):
    browser.get(page.url)
    browser.execute_cdp_cmd('Network.enable', {})
    conditions = dict(offline=False, downloadThroughput=-1, uploadThroughput=-1)
    browser.execute_cdp_cmd('Network.emulateNetworkConditions', dict(conditions, latency=3000))
    try:
        browser.refresh()
        assert browser.find_element('id', 'model').text == ''
        assert upload(browser, image_file).text == image_file.name
    finally:
        browser.execute_cdp_cmd('Network.emulateNetworkConditions', dict(conditions, latency=0))


@pytest.mark.slow
@pytest.mark.parametrize('task', ['det', 'seg', 'exported'])
def test_other_models_have_a_page(task, browser, image_file, sample_dataset, tmp_path):
    is_seg = task == 'seg'
    text, base = (
        (SEGMENTATION, 'deeplabv3_mbv2_sample') if is_seg else (DETECTION, 'ssdlite_mbv2_sample')
    )
    config, checkpoint, options = write_config(tmp_path, text, base, sample_dataset)
    if task == 'exported':
        # In its own process, to keep the runtime's threads out of this one.
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
        assert upload(browser, image_file).text == image_file.name
        assert browser.find_element('id', 'areas').is_displayed() == is_seg
        assert browser.find_element('id', 'boxes').is_displayed() != is_seg
        assert browser.find_element('id', 'threshold').is_displayed() != is_seg
        assert browser.get_log('browser') == []
    finally:
        status, said = page.stop()
    assert status == 0, said
