"""`tools/test.py` gives one figure for one set of images and boxes, whatever ids its files have."""

import json
import pickle

import pytest
from helpers.deploy import DETECTION, write_config
from helpers.distributed import torchrun
from helpers.metrics import changed, near_truth
from helpers.paths import ROOT
from helpers.small import tool
from mmdet.evaluation import CocoMetric
from mmengine.config import Config

from mbv2_backbone.workbench.configs.evaluators import use_own_metrics
from mbv2_backbone.workbench.run import evaluate

SIZES = [f'coco/bbox_mAP{size}' for size in ('', '_50', '_75', '_s', '_m', '_l')]


@pytest.fixture(scope='module')
def detector(sample_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp('det')
    return write_config(folder, DETECTION, 'ssdlite_mbv2_sample', sample_dataset)


def truth_near(model, sample_dataset, folder):
    """Return the content of a sound file with boxes near those that a model finds."""
    config, checkpoint, options = model
    out = folder / 'found.pkl'
    evaluate(config, checkpoint, work_dir=str(folder), cfg_options=options, out=str(out))
    return json.loads(near_truth(sample_dataset, pickle.loads(out.read_bytes())).read_text())


@pytest.fixture(scope='module')
def files(detector, sample_dataset, tmp_path_factory):
    """A sound file, and the same with odd ids, without areas and `iscrowd`."""
    folder = tmp_path_factory.mktemp('files')
    return write_files(folder, truth_near(detector, sample_dataset, folder))


def write_files(folder, data):
    odd = dict(
        data,
        images=changed(data['images'], lambda _, row: dict(id=f'{row["id"]:05}')),
        annotations=changed(
            data['annotations'], lambda n, row: dict(id=1 - n, image_id=f'{row["image_id"]:05}')
        ),
    )
    for row in odd['annotations']:
        del row['area'], row['iscrowd']
    for name, content in dict(sound=data, odd=odd).items():
        (folder / f'{name}.json').write_text(json.dumps(content))
    return folder / 'sound.json', folder / 'odd.json'


def with_file(path, evaluator='test_evaluator'):
    return [f'test_dataloader.dataset.ann_file={path}', f'{evaluator}.ann_file={path}']


def boxes_of(metrics):
    figures = {key: metrics[key] for key in SIZES}
    assert 0.01 < figures['coco/bbox_mAP'] < 0.95, figures
    return figures


@pytest.mark.parametrize(
    'more',
    [
        dict(),
        dict(cfg_options=['test_evaluator.backend=pycocotools']),
        dict(tta=True),
        dict(cfg_options=['test_evaluator.type=OVCocoMetric', *(
            f'test_dataloader.dataset.metainfo.{key}_classes=disc' for key in ('base', 'novel'))]),
    ],
    ids=['C++', 'pycocotools', 'augmented', 'another metric'],
)  # fmt: skip
def test_a_detector(detector, files, tmp_path, more):
    config, checkpoint, options = detector
    results = [
        evaluate(
            config, checkpoint, work_dir=str(tmp_path), tta=more.get('tta', False),
            cfg_options=[*options, *with_file(path), *more.get('cfg_options', ())],
        )
        for path in files
    ]  # fmt: skip
    assert boxes_of(results[0]) == boxes_of(results[1])


def test_a_joint_model(joint, sample_dataset, tmp_path):
    config, checkpoint, options = joint
    files = write_files(tmp_path, truth_near(joint, sample_dataset, tmp_path))
    results = [
        evaluate(
            config, checkpoint, work_dir=str(tmp_path),
            cfg_options=[*options, *with_file(path, 'test_evaluator.0')],
        )
        for path in files
    ]  # fmt: skip
    assert boxes_of(results[0]) == boxes_of(results[1])
    assert results[0]['seg/mIoU'] == results[1]['seg/mIoU']


def figures_in(work_dir):
    return boxes_of(json.loads(next(work_dir.glob('2*/*.json')).read_text()))


@pytest.mark.slow
def test_two_processes(detector, files, tmp_path):
    config, checkpoint, options = detector
    options = [*options, 'test_dataloader.batch_size=3']
    sound = [*options, *with_file(files[0])]
    expected = evaluate(config, checkpoint, work_dir=str(tmp_path / 'one'), cfg_options=sound)
    result = torchrun(
        ROOT / 'tools/test.py', config, checkpoint, '--launcher', 'pytorch', '--no-report',
        '--work-dir', tmp_path / 'two', '--cfg-options', *options, *with_file(files[1]),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert figures_in(tmp_path / 'two') == boxes_of(expected)


@pytest.mark.slow
def test_an_exported_file(detector, files, tmp_path):
    config, checkpoint, options = detector
    args = (config, checkpoint, '--to', 'onnx', '--out', tmp_path, '--cfg-options', *options)
    assert tool('export', *args).returncode == 0
    for path in files:
        result = tool(
            'test', config, next(tmp_path.glob('*.onnx')), '--no-report',
            '--work-dir', tmp_path / path.stem, '--cfg-options', *options, *with_file(path),
        )  # fmt: skip
        assert result.returncode == 0, result.stderr[-3000:]
    assert figures_in(tmp_path / 'odd') == figures_in(tmp_path / 'sound')


def test_two_files_whose_ids_begin_at_1(detector, files, tmp_path):
    config, checkpoint, options = detector
    data_root = options[0].partition('=')[2]
    data = json.loads(files[0].read_text())
    half = len(data['images']) // 2
    parts = []
    for n, images in enumerate((data['images'][:half], data['images'][half:])):
        ids = {image['id']: i for i, image in enumerate(images, 1)}
        rows = [row for row in data['annotations'] if row['image_id'] in ids]
        part = dict(
            data,
            images=[image | dict(id=ids[image['id']]) for image in images],
            annotations=changed(
                rows, lambda i, row, ids=ids: dict(id=i, image_id=ids[row['image_id']])
            ),
        )
        parts.append(tmp_path / f'{n}.json')
        parts[-1].write_text(json.dumps(part))
    both = Config.fromfile(config)
    both.merge_from_dict({'test_dataloader.dataset.data_root': data_root})
    one = both.test_dataloader.dataset
    both.test_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[dict(one, ann_file=str(part)) for part in parts]
    )
    both.test_evaluator = dict(type='CocoMetric')
    both.dump(tmp_path / 'both.py')
    expected, got = (
        evaluate(file, checkpoint, work_dir=str(tmp_path), cfg_options=[*options, *more])
        for file, more in ((config, with_file(files[0])), (str(tmp_path / 'both.py'), []))
    )
    assert boxes_of(got) == boxes_of(expected)


def test_our_tools_replace_only_the_stock_metrics():
    evaluator = [dict(type='CocoMetric', backend='pycocotools'), dict(type='VOCMetric')]
    scoped = [dict(type='mmdet.CocoMetric', ann_file='a.json'), dict(type='mmseg.IoUMetric')]
    pack, full = dict(type='PackDetInputs'), dict(type='PackDetInputs', meta_keys=('img_id',))
    loaders = {
        f'{split}_dataloader': dict(dataset=dict(type='D', ann_file='', pipeline=[step]))
        for split, step in dict(val=full, test=pack).items()
    }
    cfg = Config(dict(val_evaluator=evaluator, test_evaluator=scoped, **loaders))
    cfg = use_own_metrics().change(cfg)
    assert [m.type for m in cfg.val_evaluator] == ['mmdet.FastCocoMetric', 'VOCMetric']
    assert cfg.val_evaluator[0].backend == 'pycocotools'
    assert [m.type for m in cfg.test_evaluator] == ['mmdet.FastCocoMetric', 'mmseg.ClassIoUMetric']
    # Without an annotation file, the boxes come from the dataset.
    assert cfg.val_dataloader.dataset.pipeline[0].meta_keys == ('img_id', 'instances')
    assert 'meta_keys' not in cfg.test_dataloader.dataset.pipeline[0]
    new_style = Config(dict(val_evaluator=dict(type=CocoMetric)))
    assert use_own_metrics().change(new_style).val_evaluator.type == 'mmdet.FastCocoMetric'
