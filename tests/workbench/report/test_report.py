"""The report after an evaluation: its metrics equal the runner's, and a browser shows them."""

import json

import numpy as np
import pytest
from helpers.browser import requested
from helpers.report import read_report

from mbv2_backbone.workbench.checks.broken_images import RECORD
from mbv2_backbone.workbench.run import evaluate


@pytest.fixture(scope='module')
def joint_report(joint, tmp_path_factory):
    """The metrics of a joint model, and its work directory with a training log."""
    config, checkpoint, options = joint
    work_dir = tmp_path_factory.mktemp('work')
    log = work_dir / '20260101_000000' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    (work_dir / RECORD).write_text('of the training')
    log.write_text('\n'.join(json.dumps(dict(lr=0.1, loss=9 / i, iter=i)) for i in (1, 2, 3)))
    metrics = evaluate(config, checkpoint, work_dir=str(work_dir), cfg_options=options, report=True)
    return metrics, work_dir


def test_metrics_equal_those_of_the_runner(joint_report):
    metrics, work_dir = joint_report
    report = read_report(work_dir)
    boxes, masks = report['parts']
    own = boxes['metrics'] | masks['metrics']
    for row in boxes['classes']:
        own[f'coco/{row["name"]}_precision'] = row['ap']
        own[f'coco/{row["name"]}_50_precision'] = row['ap_50']
    for row in masks['classes']:
        own[f'seg/IoU/{row["name"]}'] = row['iou']
        own[f'seg/Acc/{row["name"]}'] = row['acc']
    assert own == pytest.approx(metrics)
    assert 'coco/bbox_mAP_50' in boxes['metrics']
    assert 'seg/mIoU' in masks['metrics']
    assert not boxes['is_own_precision']
    for name, curve in boxes['curves']['precision'].items():
        ap_50 = next(row['ap_50'] for row in boxes['classes'] if row['name'] == name)
        assert np.mean(curve) == pytest.approx(ap_50, abs=1e-3)


def test_the_record_of_the_training_is_left_alone(joint_report):
    assert (joint_report[1] / RECORD).read_text() == 'of the training'


def test_pixels_add_up_to_the_iou_of_the_metric(joint_report):
    masks = read_report(joint_report[1])['parts'][1]
    counts = np.array(masks['confusion']['counts'])
    assert counts.sum() == 8 * 96 * 96
    union = counts.sum(0) + counts.sum(1) - np.diag(counts)
    for row, right, total in zip(masks['classes'], np.diag(counts), union, strict=True):
        assert row['iou'] == pytest.approx(100 * right / total, abs=0.01)


def test_boxes_add_up_to_the_truth(joint_report, sample_dataset):
    boxes = read_report(joint_report[1])['parts'][0]
    content = json.loads((sample_dataset / 'annotations/val.json').read_text())
    counts = np.array(boxes['confusion']['counts'])
    assert counts[:-1].sum() == len(content['annotations'])
    assert [row['boxes'] for row in boxes['classes']] == counts[:-1].sum(1).tolist()
    images = boxes['worst'] + boxes['best']
    assert len({image['path'] for image in images}) == 8
    assert [i['f1'] for i in images] == sorted(i['f1'] for i in boxes['worst']) + sorted(
        (i['f1'] for i in boxes['best']), reverse=True
    )
    assert sum(i['right'] + i['missed'] for i in images) == len(content['annotations'])


def test_the_files_of_the_report(joint_report):
    work_dir = joint_report[1]
    report = read_report(work_dir)
    assert report['training']['log'].endswith('scalars.json')
    assert len(report['training']['scalars']) == 3
    assert report['versions']['torch']
    assert "type='JointModel'" in report['config']
    assert report['speed']['images'] == 8
    assert all(report['speed'][f'{key}_ms'] > 0 for key in ('data', 'model', 'metric', 'report'))
    names = sorted(path.name for path in (work_dir / 'report').iterdir())
    assert names == [
        'detection_confusion.png', 'detection_precision_recall.png', 'report.html', 'report.json',
        'segmentation_confusion.png', 'training.png',
    ]  # fmt: skip
    assert (work_dir / 'report' / 'report.html').stat().st_size < 6e6


def test_a_browser_shows_the_page_and_requests_nothing_else(joint_report, browser):
    url = (joint_report[1] / 'report' / 'report.html').as_uri()
    browser.get(url)
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('main img')].map(i => i.naturalWidth)"
    )
    assert len(sizes) == 2 * 8 + 4
    assert min(sizes) > 0
    assert browser.get_log('browser') == []
    assert requested(browser) == {url}


def test_the_tables_have_the_figures_and_can_be_sorted(joint_report, browser):
    work_dir = joint_report[1]
    browser.get((work_dir / 'report' / 'report.html').as_uri())
    report = read_report(work_dir)
    shown = browser.execute_script("""
        return [...document.querySelectorAll('table.metrics tbody tr')].map(
            row => [row.cells[0].textContent, row.cells[1].dataset.value])""")
    expected = [pair for part in report['parts'] for pair in part['metrics'].items()]
    assert [(name, float(value)) for name, value in shown] == expected
    sizes = ('ap_small', 'ap_medium', 'ap_large')
    keys = dict(
        detection=('boxes', 'ap', 'ap_50', 'ap_75', *sizes, 'precision', 'recall'),
        segmentation=('iou', 'acc', 'pixels'),
    )
    read_rows = """
        return [...document.querySelectorAll(`#${arguments[0]} table.classes tbody tr`)].map(
            row => [...row.cells].map(cell => cell.dataset.value ?? cell.textContent.trim()))"""
    for part in report['parts']:
        columns = keys[part['task']]
        rows = browser.execute_script(read_rows, part['task'])
        for row, expected in zip(rows, part['classes'], strict=True):
            assert row[0] == expected['name']
            values = [None if value == '' else float(value) for value in row[1 : 1 + len(columns)]]
            assert values == [expected[key] for key in columns]
    headings = browser.find_elements('css selector', '#segmentation table.classes th button')
    for click, is_reverse in ((1, True), (2, False)):
        headings[1].click()
        values = [float(row[1]) for row in browser.execute_script(read_rows, 'segmentation')]
        assert values == sorted(values, reverse=is_reverse), click


def test_a_click_enlarges_an_image_and_a_phone_need_not_scroll_sideways(joint_report, browser):
    browser.get((joint_report[1] / 'report' / 'report.html').as_uri())
    button = browser.find_element('css selector', '.gallery .zoom')
    dialog = browser.find_element('id', 'enlarged')
    assert not dialog.is_displayed()
    button.click()
    assert dialog.is_displayed()
    source = browser.find_element('css selector', '.gallery img').get_attribute('src')
    assert dialog.find_element('tag name', 'img').get_attribute('src') == source
    dialog.find_element('tag name', 'button').click()
    assert not dialog.is_displayed()
    size = dict(width=390, height=800, deviceScaleFactor=1, mobile=True)
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)
    assert browser.execute_script('return document.documentElement.scrollWidth') <= 390
    browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})
