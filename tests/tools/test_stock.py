"""Results of a run, used without our tools: by the toolboxes' APIs and scripts."""

import json
import pickle
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.distributed import torchrun
from helpers.small import ROOT, tool, write_small_config
from helpers.stock import DETECTION, SEGMENTATION, FinishedRun, run
from PIL import Image
from toolbox_scripts import describe, find_stock_tools, run_stock

from mbv2_backbone.common.messages import UserError


@pytest.fixture(scope='module')
def det(sample_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp('det')
    path = write_small_config(folder / 'mine.py', sample_dataset, DETECTION)
    image = sample_dataset / 'JPEGImages/val_00000.jpg'
    return FinishedRun(folder, path, 'epoch_2.pth', 'ours.pkl', image)


@pytest.fixture(scope='module')
def seg(sample_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp('seg')
    path = folder / 'mine.py'
    base = str(ROOT / 'configs/deeplabv3_mbv2_sample.py')
    path.write_text(SEGMENTATION.format(base=base, data=f'{sample_dataset}/'))
    image = sample_dataset / 'JPEGImages/val_00000.jpg'
    return FinishedRun(folder, path, 'iter_4.pth', 'masks', image)


def script(finished, code):
    """Run a user's script on the config, checkpoint and image; return its `out.json`."""
    head = 'import json, sys\nimport mbv2_backbone\nconfig, checkpoint, image = sys.argv[1:4]\n'
    tail = '\njson.dump(found, open("out.json", "w"))\n'
    path = finished.folder / 'script.py'
    path.write_text(head + code + tail)
    run(
        [sys.executable, path, finished.config, finished.checkpoint, finished.image],
        finished.folder,
    )
    return json.loads((finished.folder / 'out.json').read_text())


DET_SCRIPT = """
from mmdet.apis import DetInferencer, inference_detector, init_detector
model = init_detector(config, checkpoint, device='cpu')
found = dict(classes=model.dataset_meta['classes'], scores=[], labels=[])
boxes = inference_detector(model, image).pred_instances
found['scores'].append(boxes.scores.tolist())
found['labels'].append(boxes.labels.tolist())
for args in (dict(model=config, weights=checkpoint), dict(weights=checkpoint)):
    (boxes,) = DetInferencer(device='cpu', **args)(image)['predictions']
    found['scores'].append(boxes['scores'])
    found['labels'].append(boxes['labels'])
"""


@pytest.mark.slow
def test_mmdet_apis_find_the_same_boxes_as_our_tools(det):
    found = script(det, DET_SCRIPT)
    with Path(det.predictions).open('rb') as file:
        ours = pickle.load(file)
    (ours,) = [sample for sample in ours if sample['img_path'] == det.image]
    scores = ours['pred_instances']['scores'].numpy()
    assert found['classes'] == ['disc', 'square', 'triangle', 'star']
    assert len(found['scores']) == 3
    assert len(scores) > 10
    for given, labels in zip(found['scores'], found['labels'], strict=True):
        np.testing.assert_allclose(given, scores, atol=1e-5)
        assert labels == ours['pred_instances']['labels'].tolist()


SEG_SCRIPT = """
from mmseg.apis import MMSegInferencer, inference_model, init_model
model = init_model(config, checkpoint, device='cpu')
found = dict(classes=model.dataset_meta['classes'], masks=[])
found['masks'].append(inference_model(model, image).pred_sem_seg.data[0].tolist())
for given in (config, None):
    inferencer = MMSegInferencer(given, weights=checkpoint, device='cpu')
    found['masks'].append(inferencer(image)['predictions'].tolist())
"""


@pytest.mark.slow
def test_mmseg_apis_find_the_same_masks_as_our_tools(seg):
    found = script(seg, SEG_SCRIPT)
    assert found['classes'] == ['background', 'disc', 'square', 'triangle', 'star']
    assert len(np.unique(found['masks'][0])) > 1
    assert len(found['masks']) == 3
    ours = indices(f'{seg.predictions}/val_00000.png')
    for mask in found['masks']:
        np.testing.assert_array_equal(mask, ours)


def indices(path):
    """Return the class of each pixel of a palette PNG."""
    return np.asarray(Image.open(path))


@pytest.mark.slow
def test_mmdet_test(det):
    args = ('--work-dir', 'test', '--out', 'stock.pkl', '--show-dir', 'shown')
    det.stock('mmdet', 'test', det.config, det.checkpoint, *args)
    stock = det.metrics_of('test')
    shared = [key for key in stock if key in det.metrics]
    assert {'coco/bbox_mAP', 'coco/bbox_mAP_50', 'coco/star_precision'} <= set(shared)
    assert stock['coco/bbox_mAP_50'] > 0
    # Both round to three digits, from sums in different orders.
    ours = {k: det.metrics[k] for k in shared}
    assert {k: stock[k] for k in shared} == pytest.approx(ours, rel=1e-6, abs=1.001e-3)
    assert len(list(det.folder.glob('test/*/shown/*.jpg'))) == 8


@pytest.mark.slow
def test_mmseg_test(seg):
    args = ('--work-dir', 'test', '--out', 'stock')
    seg.stock('mmseg', 'test', seg.config, seg.checkpoint, *args)
    stock = seg.metrics_of('test')
    assert stock['mIoU'] > 0
    for key in ('mIoU', 'mAcc', 'aAcc'):
        assert stock[key] == pytest.approx(seg.metrics[key], abs=0.01)
    for path in Path(seg.predictions).glob('*.png'):
        stock = cv2.imread(str(seg.folder / 'stock' / path.name), cv2.IMREAD_UNCHANGED)
        # Ours folds batch norms, which rounds in another way where two classes are nearly equal.
        assert (stock == indices(path)).mean() > 0.999


@pytest.mark.slow
def test_mmdet_train_resumes_our_checkpoint(det):
    args = ('--work-dir', 'train', '--cfg-options', 'train_cfg.max_epochs=3')
    det.stock('mmdet', 'train', det.config, '--resume', det.checkpoint, *args)
    meta = torch.load(det.folder / 'train/epoch_3.pth', weights_only=True)['meta']
    assert (meta['epoch'], meta['iter']) == (3, 9)
    assert 'FastCocoMetric' not in meta['cfg']


@pytest.mark.slow
def test_mmseg_train_starts_from_our_config(seg):
    seg.stock('mmseg', 'train', seg.config, '--work-dir', 'train')
    meta = torch.load(seg.folder / 'train/iter_4.pth', weights_only=True)['meta']
    assert meta['iter'] == 4
    scalars = next(seg.folder.glob('train/*/vis_data/scalars.json')).read_text()
    assert 'mIoU' in scalars
    assert 'nan' not in scalars.lower()


@pytest.mark.slow
def test_mmdet_log_analysis(det):
    log = det.log()
    det.stock('mmdet', 'analyze_logs', 'plot_curve', log, '--keys', 'bbox_mAP', '--out', 'map.png')
    assert cv2.imread(str(det.folder / 'map.png')).std() > 0
    said = det.stock('mmdet', 'analyze_logs', 'cal_train_time', log)
    assert float(re.search(r'average iter time: (\S+) s', said).group(1)) > 0


@pytest.mark.slow
def test_mmseg_log_analysis(seg):
    seg.stock('mmseg', 'analyze_logs', seg.log(), '--keys', 'mIoU', '--out', 'miou.png')
    assert cv2.imread(str(seg.folder / 'miou.png')).std() > 0


@pytest.mark.slow
def test_mmdet_prediction_analysis(det):
    det.stock('mmdet', 'analyze_results', det.config, det.predictions, 'extremes', '--topk', '2')
    for folder in ('good', 'bad'):
        assert len(list(det.folder.glob(f'extremes/{folder}/*.jpg'))) == 2
    args = (det.predictions, 'confusion', '--score-thr', '0.01')
    det.stock('mmdet', 'confusion-matrix', det.config, *args)
    assert cv2.imread(str(det.folder / 'confusion/confusion_matrix.png')).std() > 0
    said = det.stock('mmdet', 'eval_metric', det.config, det.predictions)
    assert f"'coco/bbox_mAP_50': {det.metrics['coco/bbox_mAP_50']}" in said


@pytest.mark.slow
def test_mmseg_confusion_matrix(seg):
    seg.stock('mmseg', 'confusion_matrix', seg.config, seg.predictions, 'confusion')
    assert cv2.imread(str(seg.folder / 'confusion/confusion_matrix.png')).std() > 0


@pytest.mark.slow
@pytest.mark.parametrize('task', ['det', 'seg'])
def test_browsing_draws_every_training_image(task, request):
    finished = request.getfixturevalue(task)
    args = (finished.config, '--output-dir', 'browse', '--not-show')
    finished.stock(f'mm{task}', 'browse_dataset', *args)
    drawn = list(finished.folder.glob('browse/*.jpg'))
    assert len(drawn) == 24
    assert all(cv2.imread(str(path)).std() > 0 for path in drawn)


@pytest.mark.slow
def test_cost_of_a_network(det, seg):
    said = det.stock('mmdet', 'get_flops', det.config, '--num-images', '1')
    assert f'Params: {parameters(det)}' in said
    assert 'Input shape: (128, 128)' in said
    said = seg.stock('mmseg', 'get_flops', seg.config, '--shape', '145', '145')
    assert f'Params: {parameters(seg)}' in said
    assert re.search(r'Flops: [\d.]+M', said)


def parameters(finished):
    state = torch.load(finished.checkpoint, weights_only=True)['state_dict']
    count = sum(value.numel() for key, value in state.items() if not _is_buffer(key))
    return f'{round(count / 1e6, 3):g}M'


def _is_buffer(key):
    return key.endswith(('running_mean', 'running_var', 'num_batches_tracked', 'class_weight'))


@pytest.mark.slow
def test_several_processes_test_as_one(det):
    args = ('stock', 'mmdet', 'test', det.config, det.checkpoint, '--launcher', 'pytorch')
    done = torchrun('-m', 'mbv2_backbone', *args, '--work-dir', det.folder / 'two')
    assert done.returncode == 0, done.stderr[-3000:]
    stock = det.metrics_of('two')
    # Rounded to 0.001; the folded batch norms of ours round in another way.
    assert stock['coco/bbox_mAP_50'] == pytest.approx(det.metrics['coco/bbox_mAP_50'], abs=0.0011)


# Finding the tools


def test_the_list_has_every_tool_once_with_its_purpose():
    for toolbox in ('mmdet', 'mmseg'):
        tools = find_stock_tools(toolbox)
        assert next(iter(tools)) == 'test'
        assert len(set(tools.values())) == len(tools)
        for name in ('train', 'analyze_logs', 'browse_dataset', 'confusion_matrix', 'get_flops'):
            assert tools[name].parent.name in ('tools', 'analysis_tools')
    assert 'mot/browse_dataset' in find_stock_tools('mmdet')
    lines = describe().splitlines()
    assert re.search(r'^mmseg train +Train a segmentor$', '\n'.join(lines), re.MULTILINE)
    done = tool('stock', 'mmseg', '--list')
    assert done.stdout.splitlines() == [line for line in lines if line.startswith('mmseg ')]


def test_a_missing_tool_or_toolbox_is_named(monkeypatch, tmp_path):
    done = tool('stock', 'mmdet', 'analyse-logs')
    assert done.returncode == 2
    assert 'closest are analyze_logs' in done.stderr
    assert tool('stock', 'mmdet').returncode == 2
    with pytest.raises(UserError, match='no toolbox mmpose; there are mmdet and mmseg'):
        run_stock('mmpose', 'test')
    import toolbox_scripts

    package = tmp_path / 'mmseg'
    package.mkdir()
    (package / '__init__.py').touch()
    spec = toolbox_scripts.find_spec('json')
    spec.origin = str(package / '__init__.py')
    monkeypatch.setattr(toolbox_scripts, 'find_spec', lambda _: spec)
    with pytest.raises(UserError, match='without its tools'):
        run_stock('mmseg', 'test')
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools/train.py').touch()
    assert find_stock_tools('mmseg') == {'train': tmp_path / 'tools/train.py'}
    monkeypatch.setattr(toolbox_scripts, 'find_spec', lambda _: None)
    with pytest.raises(UserError, match='mmseg is not installed'):
        run_stock('mmseg', 'test')
