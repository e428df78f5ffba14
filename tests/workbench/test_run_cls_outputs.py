"""What test.py, predict.py --serve and the doctor make of a classifier."""

import json
import pickle
import shutil
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.class_data import COLOURS, write_classes
from helpers.networks import randomise
from helpers.serve import serving
from helpers.small import tool
from mmengine.registry import MODELS

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy.class_view import centre_view
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.new_config.write import Choices, write_config
from mbv2_backbone.workbench.run import evaluate

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """The config of a new classifier, a checkpoint with random weights, its model and its data."""
    folder = tmp_path_factory.mktemp('cls')
    root = write_classes(folder / 'data', size=(72, 90))
    config, checkpoint = folder / 'photos.py', folder / 'photos.pth'
    choices = Choices(width=0.35, size=64, pretrained='none')
    write_config(root, 'cls', out=config, choices=choices)
    model = randomise(MODELS.build(load_config(str(config)).model), seed=2).eval()
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return config, checkpoint, model, root


@torch.no_grad()
def slow_scores(model, path, *, scales=(1,), flips=(False,)):
    """Return the mean probabilities of the views of an image, each made by hand."""
    total = 0
    for scale in scales:
        size, resize = round(64 * scale), round(73 * scale)
        for flip in flips:
            view = centre_view(cv2.imread(str(path)), size=size, resize=resize)
            view = view[:, ::-1] if flip else view
            rgb = (view[..., ::-1].astype(np.float32) - MEAN) / STD
            pixels = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))
            total = total + model(pixels[None].float()).softmax(1)[0]
    return total / (len(scales) * len(flips))


@pytest.mark.parametrize(
    ('flags', 'views'),
    [
        ({}, {}),
        (dict(tta=True), dict(flips=(False, True))),
        (dict(tta_scales=(1, 1.25)), dict(scales=(1, 1.25), flips=(False, True))),
    ],
    ids=['one view', 'tta', 'scales'],
)
def test_out_has_the_mean_probabilities_of_the_views(made, flags, views, tmp_path):
    config, checkpoint, model, _ = made
    out = tmp_path / 'out.pkl'
    metrics = evaluate(
        config, checkpoint, work_dir=tmp_path / 'work', out=out, report=True, **flags
    )
    dumped = pickle.loads(out.read_bytes())
    assert len(dumped) == 12
    for row in dumped:
        scores = slow_scores(model, row['img_path'], **views)
        torch.testing.assert_close(row['pred_scores'], scores, rtol=1e-3, atol=1e-4)
        assert int(row['pred_label']) == int(scores.argmax())
    right = [list(COLOURS)[row['pred_label']] == Path(row['img_path']).parent.name
             for row in dumped]  # fmt: skip
    assert metrics['accuracy/top1'] == pytest.approx(100 * np.mean(right), abs=0.01)
    assert (tmp_path / 'work/report/report.html').is_file()


def test_scales_below_zero_and_an_out_that_is_no_pickle_are_refused(made, tmp_path):
    config, checkpoint, _, _ = made
    with pytest.raises(UserError, match='must be above 0, got -1'):
        evaluate(config, checkpoint, work_dir=tmp_path, tta_scales=(-1,))
    with pytest.raises(UserError, match=r'must end in \.pkl for boxes and image classes'):
        evaluate(config, checkpoint, work_dir=tmp_path, out=tmp_path / 'folder')


@pytest.mark.slow
def test_the_tool_draws_truth_and_prediction_below_each_image(made, tmp_path):
    config, checkpoint, _, root = made
    out, shown = tmp_path / 'out.pkl', tmp_path / 'shown'
    flags = ('--work-dir', tmp_path, '--out', out, '--show-dir', shown, '--tta')
    result = tool('test', config, checkpoint, *flags)
    assert result.returncode == 0, result.stderr[-3000:]
    names = sorted(str(path.relative_to(shown)) for path in shown.rglob('*.jpg'))
    assert names == [f'{name}/{i}.jpg' for name in COLOURS for i in range(4)]
    height, width = cv2.imread(str(root / 'val/blue/0.jpg')).shape[:2]
    drawn = cv2.imread(str(shown / 'blue/0.jpg'))
    assert drawn.shape[0] > height
    assert drawn.shape[1] >= width
    assert len(pickle.loads(out.read_bytes())) == 12


def test_the_page_names_the_likeliest_classes(made):
    config, checkpoint, model, root = made
    path = root / 'val/red/1.jpg'
    with serving(str(config), str(checkpoint), ['randomness.seed=0']) as page:
        answer = page.ask(path.read_bytes())
        with urllib.request.urlopen(f'{page.url}/about', timeout=60) as response:
            about = json.load(response)
        assert 'cannot be read as an image' in page.refusal(b'hello')
    assert [one['name'] for one in about['images']] == list(COLOURS)
    assert about['boxes'] == about['masks'] == answer['boxes'] == []
    scores = slow_scores(model, path)
    assert [one['label'] for one in answer['likeliest']] == scores.argsort(descending=True).tolist()
    assert [one['score'] for one in answer['likeliest']] == pytest.approx(
        scores.sort(descending=True).values.tolist(), abs=1e-3
    )


@pytest.mark.slow
def test_the_page_in_a_browser(made, browser):
    from selenium.webdriver.support.ui import WebDriverWait

    config, checkpoint, model, root = made
    path = root / 'val/red/1.jpg'
    with serving(str(config), str(checkpoint), ['randomness.seed=0']) as page:
        browser.get(page.url)
        browser.find_element('id', 'file').send_keys(str(path))
        table = browser.find_element('id', 'likeliest')
        WebDriverWait(browser, 60).until(lambda _: table.is_displayed())
        rows = [row.text for row in table.find_elements('css selector', 'tbody tr')]
        for name in ('boxes', 'areas', 'threshold', 'classes'):
            assert not browser.find_element('id', name).is_displayed()
        assert browser.get_log('browser') == []
    scores = slow_scores(model, path)
    order = scores.argsort(descending=True).tolist()
    assert [row.split()[0] for row in rows] == [list(COLOURS)[k] for k in order]
    assert float(rows[0].split()[1]) == pytest.approx(100 * float(scores.max()), abs=0.2)


def test_the_doctor_trains_steps_of_a_classifier(made):
    result = tool('doctor', made[0])
    assert result.returncode == 0, result.stdout + result.stderr
    assert 'train: 12 images of 3 classes' in result.stdout
    assert 'can train: 0 errors' in result.stdout
    assert 'an epoch of' in result.stdout


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda r: shutil.rmtree(r / 'val/red'), 'val has no image of red'),
        (lambda r: (r / 'val/red/0.jpg').write_bytes(b''), 'red/0.jpg is empty'),
        (lambda r: (r / 'train/red').rename(r / 'train/pink'), 'folders of other classes'),
        (lambda r: shutil.rmtree(r / 'train'), 'train'),
    ],
    ids=['class in one split', 'broken', 'other class', 'no images'],
)
def test_the_doctor_finds_what_would_stop_it(made, spoil, message, tmp_path):
    root = shutil.copytree(made[3], tmp_path / 'data')
    spoil(root)
    result = tool('doctor', made[0], '--cfg-options', f'data_root={root}')
    assert result.returncode == 1
    assert message in result.stdout
