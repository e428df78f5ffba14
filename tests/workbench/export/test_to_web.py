"""Web exports in Chromium: outputs, resizing, photos, camera, threads, one file."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from helpers.browser import requested, start_browser
from helpers.deploy import exporter, random_images
from helpers.exported import assert_same_boxes
from helpers.files import contents
from helpers.web import (
    ISOLATION,
    place_in_browser,
    predict_file,
    run_network,
    serve_folder,
    wait_for,
    wait_until,
)
from PIL import Image, ImageCms

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy import Predictor
from mbv2_backbone.deploy.image import place
from mbv2_backbone.deploy.metadata import InputRules
from mbv2_backbone.workbench.export.export import export

pytestmark = pytest.mark.runtime
CAMERA = ('--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream')
DRAWN = "return document.getElementById('drawing').toDataURL()"
GPU_IN_SOFTWARE = (
    '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-unsafe-swiftshader',
    '--use-angle=swiftshader',
)  # fmt: skip
TOLERANCE = 3e-5  # random weights enlarge differences; trained ones stay below 1e-5
DEFAULTS = dict(fit='stretch', within=None, pad_value=(1, 2, 3))
RESIZES = [  # size of the image, rules
    ((96, 96), dict(input_size=(128, 128))),
    ((720, 1280), dict(input_size=(320, 320))),
    ((64, 96), dict(input_size=(32, 48))),  # halved
    ((64, 96), dict(input_size=(32, 40))),
    ((641, 641), dict(input_size=(320, 320))),
    ((33, 17), dict(input_size=(20, 30))),
    ((1, 1), dict(input_size=(5, 7))),
    ((300, 3), dict(input_size=(30, 301))),
    ((50, 60), dict(input_size=(50, 60))),
    ((90, 200), dict(input_size=(128, 96), interpolation='legacy')),
    ((20, 30), dict(input_size=(128, 128), interpolation='legacy')),
    ((300, 200), dict(input_size=(150, 160), fit='pad')),
    ((30, 20), dict(input_size=(64, 64), fit='pad')),
    ((100, 200), dict(input_size=(300, 160), fit='pad', within=(150, 120))),
    ((480, 641), dict(input_size=(224, 224), fit='centre', resize=256)),
    ((480, 641), dict(input_size=(224, 224), fit='centre', resize=256, interpolation='bicubic')),
    ((97, 60), dict(input_size=(60, 60), fit='centre', resize=68, interpolation='legacy')),
    ((64, 64), dict(input_size=(64, 64), fit='centre', resize=64, interpolation='bicubic')),
    ((1, 5), dict(input_size=(8, 8), fit='centre', resize=9)),
]


@pytest.fixture(scope='module')
def web(joint, tmp_path_factory):
    """A folder with the joint model as a page."""
    config, checkpoint, options = joint
    out = tmp_path_factory.mktemp('web')
    for _ in range(2):  # the second export replaces the first
        result = export(
            config, checkpoint, to='web', out=out, num_images=2, cfg_options=options
        )  # fmt: skip
        assert result.problems() == []
    (folder,) = out.iterdir()
    assert str(folder) == result.path
    return folder


@pytest.fixture(scope='module')
def predictor(web):
    return Predictor(web / 'model.onnx', threads=1)


@pytest.fixture(scope='module')
def opened(web, browser):
    """A browser that shows the page."""
    site = serve_folder(web)
    browser.get(f'{site.url}/index.html')
    wait_for(browser, 'model', 'WebAssembly, 1 thread')
    return browser


def encoded(image, kind, **options):
    file = BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def assert_same_outputs(outputs, expected, size):
    assert outputs.keys() == expected.keys()
    for name in expected:
        scale = {'boxes': size, 'logits': np.abs(expected['logits']).max()}.get(name, 1)
        np.testing.assert_allclose(outputs[name], expected[name], rtol=0, atol=TOLERANCE * scale)


def test_the_page_has_the_onnx_export(web):
    import onnx

    assert set(contents(web)) == {
        'camera.js', 'centre.js', 'draw.js', 'files.js', 'index.html', 'model.onnx', 'network.js',
        'page.css', 'page.js', 'panel.js', 'place.js', 'resize.js', 'ort/ort.wasm.bundle.min.mjs',
        'ort/ort-wasm-simd-threaded.wasm', 'ort/ort.webgpu.bundle.min.mjs',
        'ort/ort-wasm-simd-threaded.asyncify.wasm',
    }  # fmt: skip
    kinds = [node.op_type for node in onnx.load(web / 'model.onnx').graph.node]
    assert 'NonMaxSuppression' in kinds
    assert 'ArgMax' in kinds


def test_the_network_gives_what_python_gives(opened, predictor):
    for image in random_images(3, predictor.metadata.input_size)[:, None]:
        outputs, where = run_network(opened, image, predictor.metadata.output_names)
        assert where == 'WebAssembly, 1 thread'
        assert_same_outputs(outputs, predictor.run(image), max(predictor.metadata.input_size))
        assert len(np.unique(outputs['mask'])) > 1


@pytest.mark.parametrize(('size', 'rules'), RESIZES)
def test_images_are_placed_as_in_python(opened, rng, size, rules):
    rules = InputRules(**DEFAULTS | rules)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    expected, where = place(image, rules)
    placed, placed_size = place_in_browser(opened, image, rules)
    assert placed_size == where.placed_size
    assert placed.dtype == expected.dtype
    assert np.array_equal(placed, expected)


@pytest.mark.parametrize('size', [(150, 200), (128, 128), (301, 90)])
@pytest.mark.parametrize('kind', ['PNG', 'JPEG'])
def test_a_photo_gives_the_boxes_and_masks_of_python(opened, predictor, tmp_path, kind, size):
    data = encoded(random_images(1, size)[0], kind)
    (tmp_path / 'photo').write_bytes(data)
    expected, found = predictor(tmp_path / 'photo'), predict_file(opened, data)
    assert_same_boxes([found], [expected])
    assert (found.mask == expected.mask).mean() > 0.999


def test_a_turned_photo_is_turned_as_in_python(opened, predictor, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(random_images(1, (150, 200))[0], 'JPEG', exif=exif)
    (tmp_path / 'photo').write_bytes(data)
    found = predict_file(opened, data)
    assert found.size_hw == (200, 150)
    assert_same_boxes([found], [predictor(tmp_path / 'photo')])


def test_no_colour_profile_is_applied(opened, predictor, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
    swapped = profile.replace(b'rXYZ', b'temp').replace(b'bXYZ', b'rXYZ').replace(b'temp', b'bXYZ')
    assert swapped != profile
    data = encoded(random_images(1, (150, 200))[0], 'PNG', icc_profile=swapped)
    (tmp_path / 'photo').write_bytes(data)
    assert_same_boxes([predict_file(opened, data)], [predictor(tmp_path / 'photo')])


def test_a_chosen_file_is_shown_and_nothing_leaves_the_page(opened, predictor, image_file):
    from selenium.webdriver.common.by import By

    requested(opened)
    opened.find_element('id', 'file').send_keys(str(image_file))
    wait_for(opened, 'message', image_file.name)
    expected = predictor(image_file)
    assert int(opened.find_element('id', 'total').text) == len(expected.boxes)
    shown = opened.find_elements(By.CSS_SELECTOR, '#boxes tbody tr')
    assert len(shown) == (expected.scores >= 0.3).sum()
    areas = opened.find_elements(By.CSS_SELECTOR, '#areas tbody tr')
    assert len(areas) == len(np.unique(expected.mask))
    names = {area.text.rsplit(' ', 2)[0] for area in areas}
    assert names <= set(predictor.metadata.segmentation.classes)
    assert requested(opened) == set()


def test_threads_need_the_isolation_headers(web, browser, predictor):
    site = serve_folder(web, **ISOLATION)
    browser.get(f'{site.url}/index.html')
    wait_for(browser, 'model', 'WebAssembly')
    image = random_images(1, predictor.metadata.input_size)
    outputs, where = run_network(browser, image, predictor.metadata.output_names)
    threads = min(browser.execute_script('return navigator.hardwareConcurrency'), 4)
    assert where == f'WebAssembly, {threads} thread{"s" if threads > 1 else ""}'
    assert_same_outputs(outputs, predictor.run(image), max(predictor.metadata.input_size))


def test_one_file_needs_no_server_and_predicts_from_the_camera(joint, tmp_path):
    config, checkpoint, options = joint
    out = tmp_path / 'out'
    result = export(
        config, checkpoint, to='web-file', out=out, num_images=2, cfg_options=options
    )  # fmt: skip
    assert result.problems() == []
    assert list(contents(out)) == ['ssdlite-deeplabv3_mbv2_sample.html']
    browser = start_browser(tmp_path / 'profile', *CAMERA)
    try:
        browser.get(f'file://{result.path}')
        wait_for(browser, 'model', 'WebAssembly, 1 thread')
        browser.find_element('id', 'camera').click()
        wait_for(browser, 'message', 'Camera')
        assert re.match(r'\d+ x \d+ pixels', browser.find_element('id', 'time').text)
        assert browser.find_element('id', 'drawing').is_displayed()
        first = browser.execute_script(DRAWN)
        wait_until(lambda: browser.execute_script(DRAWN) != first)  # the next frame
        browser.find_element('id', 'camera').click()
        assert browser.find_element('id', 'camera').text == 'Use the camera'
    finally:
        browser.quit()


def test_webgpu_is_used_but_not_where_it_is_software(web, predictor, tmp_path):
    site = serve_folder(web)
    browser = start_browser(tmp_path / 'profile', *GPU_IN_SOFTWARE, without=('--disable-gpu',))
    try:
        browser.get(f'{site.url}/index.html')
        wait_for(browser, 'model', 'WebAssembly, 1 thread')
        check = b'hasWebGpu && await hasRealAdapter()'
        assert check in site.files['/network.js']
        site.files['/network.js'] = site.files['/network.js'].replace(check, b'hasWebGpu')
        browser.get(f'{site.url}/index.html')
        wait_for(browser, 'model', 'WebGPU')  # it can create one session at a time
        image = random_images(1, predictor.metadata.input_size)
        names = predictor.metadata.output_names
        outputs, where = run_network(browser, image, names, has_web_gpu=True)
        assert where == 'WebGPU'
        assert_same_outputs(outputs, predictor.run(image), max(predictor.metadata.input_size))
    finally:
        browser.quit()


@pytest.mark.parametrize(
    ('model', 'size'),
    [
        ('pyramid', (96, 144)),
        ('tensorflow', None),  # its pixels are floats
        ('seg', None),
        ('aspp', (97, 129)),
        ('deeplabv3plus', (97, 129)),
        ('lraspp', (97, 129)),
        ('cls', None),
        ('slim', None),
    ],
)
def test_a_page_of_each_model_gives_what_python_gives(
    sample_dataset, browser, tmp_path, model, size
):
    result = exporter(tmp_path, sample_dataset, 'web')(model, size=size)
    assert result.problems() == []
    browser.get(f'{serve_folder(Path(result.path)).url}/index.html')
    wait_for(browser, 'model', 'WebAssembly')
    data = encoded(random_images(1, (192, 144), seed=7)[0], 'PNG')
    (tmp_path / 'photo').write_bytes(data)
    expected = Predictor(Path(result.path, 'model.onnx'), threads=1)(tmp_path / 'photo')
    found = predict_file(browser, data)
    if result.metadata.classification:
        names, given = zip(*found.likeliest, strict=True)
        assert len(names) == 5
        assert names == tuple(name for name, _ in expected.likeliest)
        np.testing.assert_allclose(given, [p for _, p in expected.likeliest], atol=TOLERANCE)
        browser.find_element('id', 'file').send_keys(str(tmp_path / 'photo'))
        best = f'{names[0]} {100 * given[0]:.1f} %'
        assert wait_for(browser, 'likeliest', ' %').splitlines()[2] == best
    elif result.metadata.detection:
        assert_same_boxes([found], [expected])
        assert found.mask is None
    else:
        assert len(found.boxes) == 0
        assert len(np.unique(expected.mask)) > 1
        assert (found.mask == expected.mask).mean() > 0.999


@pytest.mark.parametrize('to', ['web', 'web-file'])
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(int8=True), 'not for web.*; browsers run 8 bits slower'),
        (dict(dynamic_batch=True), 'takes one image at a time'),
        (dict(is_raw=True), 'shows final boxes, masks and classes'),
    ],
)
def test_what_a_page_cannot_do_is_refused_before_anything_is_read(to, options, message):
    with pytest.raises(UserError, match=message):
        export('no_config.py', 'no_checkpoint.pth', to=to, **options)
