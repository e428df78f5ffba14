"""The tools on real files: train, resume, test, predict, and their messages on mistakes."""

import json
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from helpers.small import tool, write_small_config

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.predict.predict import predict
from mbv2_backbone.workbench.run import evaluate, train


@pytest.fixture(scope='module')
def small(sample_dataset, tmp_path_factory):
    """A config on the sample dataset that trains for two short epochs."""
    more = """
    train_cfg = dict(max_epochs=2, val_interval=2)
    default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=5), logger=dict(interval=1))
    """
    path = tmp_path_factory.mktemp('config') / 'small.py'
    return write_small_config(path, sample_dataset, more)


@pytest.fixture(scope='module')
def trained(small, tmp_path_factory):
    """A work directory after `tools/train.py`, in the precision that every machine has."""
    work_dir = tmp_path_factory.mktemp('work')
    result = tool('train', small, '--no-amp', '--work-dir', work_dir)
    assert result.returncode == 0, result.stderr[-3000:]
    return work_dir, result


def training_rows(work_dir):
    lines = [
        json.loads(line)
        for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
        for line in path.read_text().splitlines()
    ]
    return [line for line in lines if 'loss' in line]


def test_train_runs_and_says_what_it_runs_on(trained):
    work_dir, result = trained
    output = result.stdout + result.stderr
    assert output.count('Running on ') == 1
    assert 'channels_last' in output
    assert (work_dir / 'epoch_2.pth').is_file()
    losses = [line['loss'] for line in training_rows(work_dir)]
    assert len(losses) == 6
    assert np.isfinite(losses).all()
    assert 'coco/bbox_mAP' in output


def test_resume_continues_from_the_newest_checkpoint(trained, small):
    work_dir, _ = trained
    train(str(small), work_dir=str(work_dir), resume='auto', cfg_options=['train_cfg.max_epochs=3'])
    checkpoint = torch.load(work_dir / 'epoch_3.pth', weights_only=True)
    assert checkpoint['meta']['epoch'] == 3
    assert checkpoint['meta']['iter'] == 9


def test_evaluate_writes_predictions_drawings_and_metrics(trained, small, tmp_path):
    work_dir, _ = trained
    result = tool(
        'test', small, work_dir / 'epoch_2.pth', '--work-dir', tmp_path,
        '--out', tmp_path / 'out.pkl', '--show-dir', tmp_path / 'shown',
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert len(pickle.loads((tmp_path / 'out.pkl').read_bytes())) == 8
    assert len(list((tmp_path / 'shown').rglob('*.jpg'))) == 8
    metrics = json.loads(next(tmp_path.glob('2*/*.json')).read_text())
    assert 0 <= metrics['coco/bbox_mAP'] <= 1


def test_test_time_augmentation(trained, small, tmp_path):
    metrics = evaluate(
        str(small), str(trained[0] / 'epoch_2.pth'), work_dir=str(tmp_path), tta=True
    )
    assert 0 <= metrics['coco/bbox_mAP'] <= 1


@pytest.mark.slow
@pytest.mark.parametrize('amp', [False, True])
def test_losses_stay_finite_at_cocos_learning_rate_from_the_first_step(small, tmp_path, amp):
    path = tmp_path / 'sgd.py'
    path.write_text(
        textwrap.dedent(f"""
        _base_ = {str(small)!r}
        optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.015, momentum=0.9))
        param_scheduler = []
        """)
    )
    train(str(path), work_dir=str(tmp_path), amp=amp)
    losses = [line['loss'] for line in training_rows(tmp_path)]
    assert len(losses) == 6
    assert np.isfinite(losses).all()


def test_boxes_unfit_for_training_do_no_harm(small, sample_dataset, tmp_path):
    file = json.loads((sample_dataset / 'annotations/train.json').read_text())
    image = file['images'][0]['id']
    bad = [[5, 5, 0, 9], [9, 9, -4, 4], [500, 5, 9, 9], [float('nan'), 1, 2, 3], [1, 1, 9, 0]]
    for i, box in enumerate(bad):
        file['annotations'].append(
            dict(id=10_000 + i, image_id=image, category_id=1, bbox=box, area=4, iscrowd=0)
        )
    (tmp_path / 'train.json').write_text(json.dumps(file))
    train(
        str(small),
        work_dir=str(tmp_path / 'work'),
        cfg_options=[
            'train_cfg.max_epochs=1',
            f'train_dataloader.dataset.ann_file={tmp_path / "train.json"}',
        ],
    )
    assert np.isfinite([line['loss'] for line in training_rows(tmp_path / 'work')]).all()
    log = next((tmp_path / 'work').rglob('*.log')).read_text()
    assert log.count('Dropped 5 box(es)') == 1
    assert f'{file["images"][0]["file_name"]}: [5, 5, 0, 9] zero area' in log


def test_predict_on_a_folder_a_glob_and_a_video(trained, small, sample_dataset, tmp_path):
    frames = sorted((sample_dataset / 'JPEGImages').glob('*.jpg'))[:5]
    folder = tmp_path / 'in' / 'deep'
    folder.mkdir(parents=True)
    for path in frames[:3]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / 'broken.jpg').write_bytes(b'no jpeg')
    writer = cv2.VideoWriter(
        str(tmp_path / 'clip.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 10, (96, 96)
    )
    for path in frames:
        writer.write(cv2.imread(str(path)))
    writer.release()
    (tmp_path / 'second.mp4').write_bytes((tmp_path / 'clip.mp4').read_bytes())
    result = tool(
        'predict', small, trained[0] / 'epoch_2.pth', tmp_path / 'in',
        f'{sample_dataset}/JPEGImages/{frames[4].stem}*', tmp_path / 'clip.mp4',
        tmp_path / 'second.mp4', '--out', tmp_path / 'out', '--score-thr', 0.01,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'broken.jpg' in result.stdout
    assert 'frames/s' in result.stdout
    rows = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert {row['image_id'] for row in rows} <= set(range(5 + 5 + 5))
    for row in rows:
        assert 1 <= row['category_id'] <= 4
        assert row['category_name'] in ('disc', 'square', 'triangle', 'star')
        x, y, w, h = row['bbox']
        assert min(x, y) >= 0
        assert max(x + w, y + h) <= 96.1
        assert row['score'] >= 0.01
    assert {row['frame'] for row in rows if 'frame' in row} <= set(range(5))
    # Five images, then the frames of one video after another.
    for name, first_id in (('clip.mp4', 5), ('second.mp4', 10)):
        frames_of = [row for row in rows if row['file_name'].endswith(name)]
        assert frames_of
        assert all(row['image_id'] == first_id + row['frame'] for row in frames_of)
    for path in frames[:3]:
        assert cv2.imread(str(tmp_path / 'out/deep' / path.name)).shape == (96, 96, 3)
    clip = cv2.VideoCapture(str(tmp_path / 'out/clip.mp4'))
    assert clip.get(cv2.CAP_PROP_FRAME_COUNT) == 5


def test_predict_finds_what_evaluate_finds(trained, small, sample_dataset, tmp_path):
    """Both give the same boxes for the same images."""
    checkpoint = str(trained[0] / 'epoch_2.pth')
    evaluate(str(small), checkpoint, work_dir=str(tmp_path), out=str(tmp_path / 'out.pkl'))
    dumped = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    paths = [sample['img_path'] for sample in dumped]
    summary = predict(str(small), checkpoint, paths, out=str(tmp_path), score_thr=0.0, draw=False)
    rows = json.loads(Path(summary.predictions).read_text())
    for path, sample in zip(paths, dumped, strict=True):
        got = [row for row in rows if row['file_name'] == path]
        expected = sample['pred_instances']
        assert [r['score'] for r in got] == pytest.approx(expected['scores'].tolist(), abs=1e-4)
        corners = np.array([[x, y, x + w, y + h] for x, y, w, h in (r['bbox'] for r in got)])
        # Nearly equal scores may swap places, as predict folds the batch norms: in the list, and
        # with those cut off at its end.
        far = np.abs(corners[:, None] - expected['bboxes'].numpy()).max(-1)
        scores = expected['scores'].numpy()
        is_cut_off = len(scores) == 200
        certain = scores > (scores.min() + 1e-4 if is_cut_off else 0)  # written with 4 digits
        assert certain.sum() > 20
        assert far.min(0)[certain].max() < 0.1
        assert far.min(1)[certain].max() < 0.1


def wrong(call, *parts):
    with pytest.raises(UserError) as info:
        call()
    for part in parts:
        assert part in str(info.value)


def test_missing_data_shows_the_layout_and_the_command(small, tmp_path):
    wrong(
        lambda: train(str(small), work_dir=str(tmp_path),
                      cfg_options=['train_dataloader.dataset.data_root=nowhere']),
        'MISSING nowhere/annotations/train.json', 'found', 'tools/data.py sample',
    )  # fmt: skip


def test_a_missing_or_foreign_checkpoint_is_named(small, trained, tmp_path):
    wrong(lambda: evaluate(str(small), 'none.pth'), 'no checkpoint at none.pth', 'train.py')
    (tmp_path / 'text.pth').write_text('<html>not found</html>')
    wrong(lambda: evaluate(str(small), str(tmp_path / 'text.pth')), 'text.pth', 'web page')
    torch.save({'state_dict': {}}, tmp_path / 'empty.pth')
    wrong(lambda: evaluate(str(small), str(tmp_path / 'empty.pth')), 'holds no model weights')
    full = str(ROOT / 'configs' / 'ssdlite_mbv2_sample.py')
    (tmp_path / 'nothing').mkdir()
    wrong(
        lambda: predict(full, 'none.pth', [str(tmp_path / 'nothing')], out=str(tmp_path)),
        'no image or video',
    )
    image = tmp_path / 'a.png'
    cv2.imwrite(str(image), np.zeros((32, 32, 3), np.uint8))
    wrong(
        lambda: predict(full, str(trained[0] / 'epoch_2.pth'), [str(image)], out=str(tmp_path)),
        'not a checkpoint of this config', 'have another shape', 'backbone.conv1',
    )  # fmt: skip
    image.write_bytes(b'')
    wrong(
        lambda: predict(str(small), str(trained[0] / 'epoch_2.pth'), [str(image)],
                        out=str(tmp_path)),
        'none of the inputs could be read',
    )  # fmt: skip


def test_a_class_count_that_differs_is_named(small, tmp_path):
    wrong(
        lambda: train(str(small), work_dir=str(tmp_path),
                      cfg_options=['classes=None', 'model.bbox_head.num_classes=7']),
        'predicts 7 classes', 'has 4', 'classes = (...)',
    )  # fmt: skip


def test_files_that_are_no_config_are_refused(tmp_path):
    for name, text, said in [
        ('empty.py', '', 'no `model`'),
        ('broken.py', 'model = dict(', 'cannot read the config'),
        ('base.py', "_base_ = './none.py'", 'none.py'),
    ]:
        (tmp_path / name).write_text(text)
        wrong(lambda name=name: train(str(tmp_path / name)), said)
    wrong(
        lambda: train(str(ROOT / 'configs/ssdlite_mbv2_sample.py'), cfg_options=['max_epochs']),
        'key=value', 'max_epochs',
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_train_over_gloo(small, tmp_path):
    command = [
        sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--standalone',
        str(ROOT / 'tools/train.py'), str(small), '--launcher', 'pytorch', '--work-dir',
        str(tmp_path), '--cfg-options', 'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=4',
    ]  # fmt: skip
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    result = subprocess.run(command, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    assert '2 processes over gloo' in result.stdout + result.stderr
    assert len(training_rows(tmp_path)) == 3
