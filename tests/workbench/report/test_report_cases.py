"""Reports of edge cases: no truth, no detections, other metrics, two processes."""

import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.deploy import DETECTION, SEGMENTATION, write_config
from helpers.distributed import torchrun
from helpers.metrics import near_truth
from helpers.paths import ROOT
from helpers.report import read_report
from helpers.small import tool

from mbv2_backbone.workbench.report import hook
from mbv2_backbone.workbench.report.detection import BoxCollector
from mbv2_backbone.workbench.run import evaluate


@pytest.fixture(scope='module')
def detector(sample_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp('det')
    return write_config(folder, DETECTION, 'ssdlite_mbv2_sample', sample_dataset)


def voc_config(folder, base):
    """Write a config whose metric has no results per class."""
    path = folder / 'voc.py'
    path.write_text(
        f"_base_ = {base!r}\ntest_evaluator = dict(_delete_=True, type='VOCMetric', metric='mAP')"
    )
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize('metric', ['coco', 'voc'])
def test_two_processes_report_what_one_does(metric, joint, detector, sample_dataset, tmp_path):
    content = json.loads((sample_dataset / 'annotations/val.json').read_text())
    content['images'] = content['images'][:7]  # an odd number: one image is evaluated twice
    kept = {image['id'] for image in content['images']}
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] in kept]
    odd = sample_dataset / 'annotations/odd_report.json'
    odd.write_text(json.dumps(content))
    config, checkpoint, options = joint if metric == 'coco' else detector
    options = [
        *options, f'test_dataloader.dataset.ann_file={odd}', 'test_dataloader.batch_size=2'
    ]  # fmt: skip
    if metric == 'coco':
        options.append(f'test_evaluator.0.ann_file={odd}')
    else:
        config = voc_config(tmp_path, config)
    evaluate(config, checkpoint, work_dir=str(tmp_path / 'one'), cfg_options=options, report=True)
    result = torchrun(
        ROOT / 'tools/test.py', config, checkpoint, '--launcher', 'pytorch',
        '--work-dir', tmp_path / 'two', '--cfg-options', *options,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    one, two = read_report(tmp_path / 'one'), read_report(tmp_path / 'two')
    assert two['speed']['processes'] == 2
    for a, b in zip(one['parts'], two['parts'], strict=True):
        images = [{i['path']: i for i in part['worst'] + part['best']} for part in (a, b)]
        assert len(b['worst'] + b['best']) == len(images[1]) == 7
        assert images[0] == images[1]
        for key in ('metrics', 'classes', 'confusion'):
            assert a[key] == b[key], key
        assert a.get('curves') == b.get('curves')
        assert a['task'] == 'segmentation' or a['curves']['precision']


@pytest.mark.slow
def test_an_exported_file_is_reported_as_its_checkpoint(joint, tmp_path):
    config, checkpoint, options = joint
    exported = tool(
        'export', config, checkpoint, '--to', 'onnx', '--out', tmp_path, '--cfg-options', *options
    )
    assert exported.returncode == 0, exported.stderr[-3000:]
    file = next(tmp_path.glob('*.onnx'))
    args = ('--work-dir', tmp_path / 'onnx', '--show-dir', tmp_path / 'shown')
    # In its own process, to keep the runtime's threads out of this one.
    result = tool('test', config, file, *args, '--cfg-options', *options)
    assert result.returncode == 0, result.stderr[-3000:]
    assert len(list((tmp_path / 'shown').rglob('*.jpg'))) == 8
    evaluate(config, checkpoint, work_dir=str(tmp_path / 'torch'), cfg_options=options, report=True)
    onnx, torch = (read_report(tmp_path / name) for name in ('onnx', 'torch'))
    assert onnx['checkpoint'] == str(file)
    counts = [np.array(r['parts'][0]['confusion']['counts']) for r in (onnx, torch)]
    assert np.abs(counts[0] - counts[1]).sum() <= 0.1 * counts[1].sum()


def test_the_option_no_report_writes_no_report(detector, tmp_path):
    config, checkpoint, options = detector
    result = tool(
        'test', config, checkpoint, '--work-dir', tmp_path, '--no-report',
        '--cfg-options', *options,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'bbox_mAP' in result.stdout
    assert not (tmp_path / 'report').exists()


def test_augmented_evaluation_and_errors_while_reporting(detector, tmp_path, monkeypatch):
    config, checkpoint, options = detector
    args = dict(work_dir=str(tmp_path), cfg_options=options, tta=True, report=True)
    metrics = evaluate(config, checkpoint, **args)
    part = read_report(tmp_path)['parts'][0]
    assert part['metrics']['coco/bbox_mAP'] == metrics['coco/bbox_mAP']
    assert part['has_truth']
    shutil.rmtree(tmp_path / 'report')

    def fail(*_, **__):
        raise OSError('the disk is full')

    args['tta'] = False
    metrics = evaluate(config, checkpoint, **dict(args, report=False))
    faults = (hook, 'write_report'), (BoxCollector, 'add'), (hook, 'truth_of')
    for owner, name in faults:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            # The report is lost, the metrics are not.
            assert evaluate(config, checkpoint, **args) == metrics, name
        logs = sorted(tmp_path.glob('*/*.log'))
        assert 'OSError: the disk is full' in logs[-1].read_text(), name


def with_annotations(sample_dataset, name, change):
    content = json.loads((sample_dataset / 'annotations/val.json').read_text())
    content['annotations'] = change(content['annotations'])
    path = sample_dataset / 'annotations' / f'{name}.json'
    path.write_text(json.dumps(content))
    return [f'test_dataloader.dataset.ann_file={path}', f'test_evaluator.ann_file={path}']


def test_a_class_without_truth_has_no_curve(detector, sample_dataset, tmp_path):
    config, checkpoint, options = detector
    fewer = with_annotations(
        sample_dataset, 'no_discs', lambda rows: [a for a in rows if a['category_id'] != 1]
    )
    evaluate(
        config, checkpoint, work_dir=str(tmp_path), cfg_options=[*options, *fewer], report=True
    )
    part = read_report(tmp_path)['parts'][0]
    disc = part['classes'][0]
    assert (disc['name'], disc['boxes'], disc['ap'], disc['recall']) == ('disc', 0, None, None)
    assert set(part['curves']['precision']) == {'square', 'triangle', 'star'}


def test_a_test_dataset_without_annotations(detector, sample_dataset, tmp_path):
    config, checkpoint, options = detector
    none = with_annotations(sample_dataset, 'none', lambda _: [])
    evaluate(config, checkpoint, work_dir=str(tmp_path), cfg_options=[*options, *none], report=True)
    page = (tmp_path / 'report' / 'report.html').read_text()
    assert 'The test split has no annotations' in page
    assert 'Some images' in page
    assert 'No training log was found' in page
    assert page.count('<figure>') == 8
    # Image names and the config may contain any characters.
    said = re.sub(r'"data:[^"]*"', '', page.partition('<details>')[0])
    assert not re.search(r'F1|\bwrong\b|\bmissed\b|vermilion|Confusion', said)
    (part,) = read_report(tmp_path)['parts']
    assert all(row['precision'] is row['recall'] is row['ap'] is None for row in part['classes'])
    assert not np.any(part['confusion']['counts'])


def test_no_detections_at_all(detector, tmp_path):
    config, checkpoint, options = detector
    metrics = evaluate(
        config, checkpoint, work_dir=str(tmp_path), report=True,
        cfg_options=[*options, 'model.test_cfg.score_thr=2.0'],
    )  # fmt: skip
    assert metrics['coco/bbox_mAP'] == 0
    part = read_report(tmp_path)['parts'][0]
    assert part['curves'] is None
    assert np.array(part['confusion']['counts'])[:, :-1].sum() == 0
    page = (tmp_path / 'report' / 'report.html').read_text()
    assert 'nothing was detected on any image' in page


def test_a_metric_without_classes_gets_our_curves(detector, sample_dataset, tmp_path):
    config, checkpoint, options = detector
    dump = tmp_path / 'found.pkl'
    evaluate(config, checkpoint, work_dir=str(tmp_path), cfg_options=options, out=str(dump))
    near = near_truth(sample_dataset, pickle.loads(dump.read_bytes()))
    options = [*options, f'test_dataloader.dataset.ann_file={near}']
    for file, more in (
        (voc_config(tmp_path, config), []),
        (config, [f'test_evaluator.ann_file={near}']),
    ):
        work_dir = tmp_path / Path(file).stem
        evaluate(
            file, checkpoint, work_dir=str(work_dir), cfg_options=[*options, *more], report=True
        )
    voc, coco = (read_report(tmp_path / name)['parts'][0] for name in ('voc', Path(config).stem))
    assert voc['is_own_precision']
    assert set(voc['metrics']) == {'pascal_voc/mAP', 'pascal_voc/AP50'}
    assert any(0.1 < row['ap'] < 0.99 for row in coco['classes'])
    for a, b in zip(voc['classes'], coco['classes'], strict=True):
        assert (a['ap'], a['ap_50'], a['ap_75']) == (b['ap'], b['ap_50'], b['ap_75'])
    assert 'computed for this report' in (tmp_path / 'voc/report/report.html').read_text()


def test_a_segmentor_under_iou_metric(sample_dataset, tmp_path):
    config, checkpoint, options = write_config(
        tmp_path, SEGMENTATION, 'deeplabv3_mbv2_sample', sample_dataset
    )
    metrics = evaluate(config, checkpoint, work_dir=str(tmp_path), cfg_options=options, report=True)
    (part,) = read_report(tmp_path)['parts']
    assert part['task'] == 'segmentation'
    assert part['metrics'] == {key: metrics[key] for key in ('aAcc', 'mIoU', 'mAcc')}
    assert [row['iou'] for row in part['classes']] == [
        metrics.get(f'IoU/{row["name"]}') for row in part['classes']
    ]
    assert all(0 <= image['miou'] <= 100 for image in part['worst'])
