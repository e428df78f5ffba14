"""The pages of web exports, served to a browser."""

import base64
import mimetypes
import time
from dataclasses import asdict

import numpy as np
from helpers.files import contents
from helpers.site import Site

from mbv2_backbone.deploy.predictor import Prediction

PATIENCE_SECONDS = 300
ISOLATION = {
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Embedder-Policy': 'require-corp',
}
# Values travel as base64 of the array's bytes.
BEGIN = """
const done = arguments[arguments.length - 1];
const metadata = () => JSON.parse(document.getElementById('exported').textContent).metadata;
const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const textOf = ({ buffer, byteOffset, byteLength }) =>
  new Uint8Array(buffer, byteOffset, byteLength).reduce((text, byte) =>
    text + String.fromCharCode(byte), '');
(async () => { %s })().then(done, (error) => done({ error: String(error.stack) }));
"""
RUN = """
const { loadNetwork } = await import('./network.js');
const network = await loadNetwork(metadata(), { hasWebGpu: arguments[2] });
const Kind = metadata().interpolation === 'legacy' ? Float32Array : Uint8Array;
const outputs = await network.run(new Kind(bytesOf(arguments[0]).buffer), arguments[1]);
const results = Object.entries(outputs).map(([name, { data, dims }]) =>
  [name, [btoa(textOf(data)), dims]]);
return { where: network.where, outputs: Object.fromEntries(results) };
"""
PREDICT = """
const { predictPhoto } = await import('./page.js');
const found = await predictPhoto(new Blob([bytesOf(arguments[0])]));
const likeliest = found.likeliest?.map(({ label, score }) =>
  ({ name: metadata().classification.classes[label], score }));
return { ...found, likeliest, image: null, mask: found.mask && btoa(textOf(found.mask.labels)) };
"""
PLACE = """
const { place } = await import('./place.js');
const { width, height, ...rules } = arguments[1];
const placed = place({ width, height, data: bytesOf(arguments[0]) }, rules);
return { values: btoa(textOf(placed.values)), size: [placed.height, placed.width] };
"""
TYPES = dict(boxes=np.float32, scores=np.float32, labels=np.int64, mask=np.uint8, logits=np.float32)


def serve_folder(folder, **headers):
    """Return a web server with the files of a folder."""
    site = Site()
    for name, content in contents(folder).items():
        kind = mimetypes.guess_type(name)[0] or 'application/octet-stream'
        site.files[f'/{name}'] = content
        site.headers[f'/{name}'] = {'Content-Type': kind} | headers
    return site


def wait_for(browser, name, part):
    """Wait until the text of an element contains this, and return all of it."""
    element = browser.find_element('id', name)
    wait_until(lambda: part in element.text)
    return element.text


def wait_until(is_true):
    """Wait until a function returns true."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < end, 'the page did not get there'
        time.sleep(0.2)


def call(browser, script, *arguments):
    """Run an async script on the page; bytes are given to it as base64."""
    browser.set_script_timeout(300)
    given = [base64.b64encode(a).decode() if isinstance(a, bytes) else a for a in arguments]
    answer = browser.execute_async_script(BEGIN % script, *given)
    assert 'error' not in answer, answer
    return answer


def run_network(browser, image, names, *, has_web_gpu=False):
    """Run the page's network alone; return its outputs and what it runs on."""
    answer = call(browser, RUN, image.tobytes(), list(names), has_web_gpu)
    outputs = {
        name: np.frombuffer(base64.b64decode(data), TYPES[name]).reshape(dims)
        for name, (data, dims) in answer['outputs'].items()
    }
    return outputs, answer['where']


def place_in_browser(browser, image, rules):
    """Fit an image `(H, W, 3)` to the network's input; return it, and the size it has there."""
    height, width = image.shape[:2]
    opaque = np.dstack([image, np.full_like(image[..., :1], 255)])
    answer = call(
        browser, PLACE, opaque.tobytes(), asdict(rules) | dict(width=width, height=height)
    )
    values = np.frombuffer(base64.b64decode(answer['values']), rules.input_type)
    return values.reshape(*rules.input_size, 3), tuple(answer['size'])


def predict_file(browser, data):
    """Predict on the bytes of an image file, as the page does when it is dropped there."""
    found = call(browser, PREDICT, data)
    rows = found['boxes']
    size = found['height'], found['width']
    mask = found['mask']
    return Prediction(
        boxes=np.array([row['xyxy'] for row in rows], np.float32).reshape(-1, 4),
        scores=np.array([row['score'] for row in rows], np.float32),
        labels=np.array([row['label'] for row in rows], np.int64),
        names=(),
        mask=mask and np.frombuffer(base64.b64decode(mask), np.uint8).reshape(size),
        size_hw=size,
        likeliest=tuple((row['name'], row['score']) for row in found.get('likeliest') or ()),
    )
