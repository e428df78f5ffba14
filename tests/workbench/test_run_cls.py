"""The tools on a classifier: trained on faulty files, tested, and a start for other tasks."""

import json
import shutil
from pathlib import Path

import cv2
import pytest
import torch
from helpers.class_data import COLOURS, write_classes
from helpers.image_formats import encoded, grey, photo
from helpers.paths import config_path
from mmengine.config import Config
from mmengine.registry import MODELS
from PIL import Image

from mbv2_backbone.cls import ImageClassifier
from mbv2_backbone.common.messages import UserError
from mbv2_backbone.weights.whole_model import read_state_dict
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.data.check.check import check_data
from mbv2_backbone.workbench.predict.predict import predict
from mbv2_backbone.workbench.run import evaluate, train

CONFIG = f"""
_base_ = {config_path('mobilenetv2_folders')!r}
model = dict(backbone=dict(
    widen_factor=0.35, norm_cfg=dict(type='BN', momentum=0.5),
    init_cfg=[dict(type='Kaiming', layer='Conv2d')]))
model['head'] = dict(dropout_ratio=0.0)
data_root = 'ROOT'
views = [dict(type='LoadImageAsAnnotated'), dict(type='CentreView', size=64, resize=64),
         dict(type='PackClassInputs')]
train_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False,
                        dataset=dict(data_root='ROOT', pipeline=views))
val_dataloader = dict(batch_size=8, num_workers=0, persistent_workers=False,
                      dataset=dict(data_root='ROOT', pipeline=views))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=12, val_interval=12)
param_scheduler = dict(_delete_=True, type='ConstantLR', factor=1)
optim_wrapper = dict(optimizer=dict(lr=0.001))
default_hooks = dict(checkpoint=dict(interval=12))
max_broken_images = 0.1
"""


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A config, its work directory, and data with a grey, a CMYK and a truncated training image."""
    folder = tmp_path_factory.mktemp('cls')
    root = write_classes(folder / 'data', dict.fromkeys(('blue', 'green', 'red'), 8))
    blue = root / 'train/blue'
    cmyk = Image.fromarray(photo()).convert('CMYK')
    for name, data in dict(
        grey=encoded(grey()[..., 0], 'JPEG'),
        cmyk=encoded(cmyk, 'JPEG'),
        broken=encoded(photo(), 'JPEG')[:300],
    ).items():
        (blue / f'{name}.jpg').write_bytes(data)
    config = folder / 'photos.py'
    config.write_text(CONFIG.replace('ROOT', str(root)))
    train(config, work_dir=folder / 'work')
    return config, folder / 'work', root


@pytest.mark.slow
def test_the_broken_image_is_named_and_the_test_counts_what_predict_writes(trained, tmp_path):
    config, work, root = trained
    assert 'blue/broken.jpg\t' in (work / 'broken_images.txt').read_text()
    metrics = evaluate(config, 'last', work_dir=work, report=True)
    out = tmp_path / 'out'
    options = [f'work_dir={work}']
    done = predict(config, 'last', root / 'val', out=out, features=True, cfg_options=options)
    assert done.num_images == 24
    rows = json.loads(Path(done.predictions).read_text())
    assert len(rows) == 3 * 24
    best = {row['file_name']: row for row in reversed(rows)}
    for row in best.values():
        scores = [other['score'] for other in rows if other['image_id'] == row['image_id']]
        assert row['score'] == max(scores)
        assert sum(scores) == pytest.approx(1, abs=2e-4)
    right = {
        name: [row['category_name'] == name for path, row in best.items() if f'/{name}/' in path]
        for name in COLOURS
    }
    expected = {f'accuracy/{name}': 100 * sum(hits) / 8 for name, hits in right.items()}
    expected['accuracy/top1'] = sum(expected.values()) / 3
    assert metrics == pytest.approx(expected, abs=0.01)
    names = {path.name for path in out.rglob('*') if path.is_file()}
    assert {'0.jpg', '0.taps.png', '0.classes.png', 'predictions.json'} <= names
    drawn = cv2.imread(str(next(out.rglob('red/0.jpg'))))
    assert drawn.shape[0] > 40  # the classes are written below the image


@pytest.mark.slow
def test_what_it_leaves_is_built_by_mmengine_alone(trained):
    config, work, _ = trained
    recorded = Config.fromfile(work / config.name)
    assert list(recorded.classes) == ['blue', 'green', 'red']
    model = MODELS.build(recorded.model)
    assert isinstance(model, ImageClassifier)
    model.load_state_dict(read_state_dict(str(work / 'epoch_12.pth')))


@pytest.mark.slow
def test_classes_of_equal_names_are_kept_for_another_list(trained):
    config, work, root = trained
    shutil.copytree(root, work / 'more')
    for split in ('train', 'val'):
        (work / 'more' / split / 'green').rename(work / 'more' / split / 'white')
    options = [f'data_root={work}/more', f'load_from={work}/epoch_12.pth', 'train_cfg.max_epochs=1']
    train(config, work_dir=work / 'again', cfg_options=[*options, 'optim_wrapper.optimizer.lr=0'])
    before = read_state_dict(str(work / 'epoch_12.pth'))['head.fc.weight']
    after = read_state_dict(str(work / 'again/start.pth'))['head.fc.weight']
    assert torch.equal(after[:2], before[[0, 2]])  # blue, red, white


@pytest.mark.slow
def test_a_checkpoint_of_the_same_classes_in_another_order_is_refused(trained, tmp_path):
    config, work, _ = trained
    other = ['classes=("red","green","blue")']
    checkpoint = work / 'epoch_12.pth'
    with pytest.raises(UserError, match=r'trained with the classes blue, green, red, the config'):
        evaluate(config, checkpoint, work_dir=tmp_path, cfg_options=other)
    with pytest.raises(UserError, match='in that order'):
        predict(config, checkpoint, work, out=tmp_path, cfg_options=other)


@pytest.mark.slow
def test_predict_names_a_broken_file_and_reads_grey_and_cmyk(trained, tmp_path, capsys):
    config, work, root = trained
    done = predict(config, work / 'epoch_12.pth', root / 'train/blue', out=tmp_path)
    rows = json.loads(Path(done.predictions).read_text())
    names = {Path(row['file_name']).name for row in rows}
    assert names == {'grey.jpg', 'cmyk.jpg', *(f'{i}.jpg' for i in range(8))}
    assert 'broken.jpg' in f'{done}{capsys.readouterr().out}'


def test_a_config_whose_splits_have_other_classes_is_refused(tmp_path):
    root = write_classes(tmp_path / 'data')
    config = tmp_path / 'photos.py'
    config.write_text(CONFIG.replace('ROOT', str(root)))
    report = check_data(config)
    assert not report.stops_training, report
    assert 'train: 12 images of 3 classes' in str(report)
    shutil.rmtree(root / 'val/red')
    assert 'val: ' in str(check_data(config))
    assert check_data(config).stops_training
    with pytest.raises(UserError, match='val has no image of red'):
        train(config, work_dir=tmp_path / 'work')


def test_a_broken_image_to_test_on_is_named(tmp_path):
    root = write_classes(tmp_path / 'data')
    (root / 'val/red/0.jpg').write_bytes(b'')
    config = tmp_path / 'photos.py'
    config.write_text(CONFIG.replace('ROOT', str(root)))
    report = check_data(config)
    assert report.stops_training
    assert 'red/0.jpg is empty' in str(report)
    with pytest.raises(UserError, match=r'(?s)broken.*red/0.jpg is empty'):
        train(config, work_dir=tmp_path / 'work')
    assert summarise(load_config(str(config))).task == 'cls'
