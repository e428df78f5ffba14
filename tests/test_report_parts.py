"""What a report is made of: matching, confusion, ranking, precision, curves, the page's text."""

import itertools
import json

import cv2
import numpy as np
import pytest
import torch
from metrics_util import draw_coco, evaluate_by

from mbv2_backbone.det.metrics import FastCocoMetric
from mbv2_backbone.report.curves import panels, save_curves
from mbv2_backbone.report.detection import class_figures, precision_of_boxes
from mbv2_backbone.report.hook import speed_of
from mbv2_backbone.report.logs import curve, newest_log, read_scalars
from mbv2_backbone.report.matching import Boxes, confusion_of, match_boxes, match_image
from mbv2_backbone.report.origin import training_in
from mbv2_backbone.report.pictures import compare_boxes, compare_masks, encode
from mbv2_backbone.report.plots import draw_confusion, draw_precision
from mbv2_backbone.report.ranking import Extremes, RankedImage
from mbv2_backbone.report.segmentation import confusion_of_pixels, mean_iou
from mbv2_backbone.report.write import Part, clean, confusions, figure, spark, write_report


def boxes(rng, count, *, num_classes=3, scores=None):
    corner = rng.uniform(0, 60, (count, 2))
    xyxy = np.hstack([corner, corner + rng.uniform(5, 40, (count, 2))]).astype(np.float32)
    scores = rng.random(count) if scores is None else np.full(count, scores)
    return Boxes(xyxy, rng.integers(0, num_classes, count), scores)


def noisy(rng, truth):
    """Detections near the truth, some of another class, and some of nothing."""
    near = np.repeat(truth.xyxy, 2, 0) + rng.normal(0, 2, (2 * len(truth), 4))
    other = boxes(rng, 4)
    labels = np.where(rng.random(len(near)) < 0.2, 0, np.repeat(truth.labels, 2))
    xyxy = np.vstack([near, other.xyxy]).astype(np.float32)
    return Boxes(xyxy, np.r_[labels, other.labels], rng.random(len(xyxy)))


def slow_iou(a, b):
    both = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return both / (sum(areas) - both)


def slow_match(found, truth):
    """Take the best pair of one class again and again, then the best of those left."""
    pairs = []
    for i, j in itertools.product(range(len(found)), range(len(truth))):
        iou = slow_iou(found.xyxy[i].astype(float), truth.xyxy[j].astype(float))
        if iou >= 0.5:
            pairs.append((found.labels[i] == truth.labels[j], iou, i, j))
    matched = [-1] * len(found)
    while pairs:
        _, _, row, column = max(pairs)
        matched[row] = column
        pairs = [pair for pair in pairs if pair[2] != row and pair[3] != column]
    return matched


@pytest.mark.parametrize('seed', range(5))
def test_matching_is_that_of_the_slow_way(seed):
    rng = np.random.default_rng(seed)
    truth = boxes(rng, 8, scores=1)
    found = noisy(rng, truth)
    matched = match_boxes(found, truth)
    assert matched.tolist() == slow_match(found, truth)
    assert (matched >= 0).sum() > 3


def test_boxes_without_area_match_nothing():
    flat = Boxes(np.array([[3, 3, 3, 9]], np.float32), np.array([0]), np.ones(1))
    assert match_boxes(flat, flat).tolist() == [-1]
    assert match_boxes(flat.where(np.zeros(1, bool)), flat).tolist() == []


def test_an_image_is_judged_by_what_counts():
    square = [0, 0, 10, 10]
    truth = Boxes(
        np.array([square, [20, 0, 30, 10], [40, 0, 60, 20]], np.float32),
        np.array([0, 1, 1]),
        np.array([1, 1, 0]),
    )
    rows = [  # box, label, score
        (square, 0, 0.9),  # right
        (square, 0, 0.8),  # a second one on the same box
        ([20, 0, 30, 10], 0, 0.7),  # another class
        ([41, 1, 51, 11], 1, 0.6),  # on what is not counted
        ([80, 80, 90, 90], 1, 0.2),  # below the threshold
    ]
    found = Boxes(
        np.array([r[0] for r in rows], np.float32),
        np.array([r[1] for r in rows]),
        np.array([r[2] for r in rows]),
    )
    match = match_image(found, truth)
    assert match.is_right.tolist() == [True, False, False]
    assert match.is_seen.tolist() == [True, False]
    assert match.f1 == pytest.approx(2 / 5)
    assert confusion_of(match, 2).tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]


def test_nothing_found_where_nothing_is_is_right():
    nothing = boxes(np.random.default_rng(0), 0)
    some = boxes(np.random.default_rng(0), 3, scores=1)
    assert match_image(nothing, nothing).f1 == 1
    assert match_image(nothing, some).f1 == match_image(some, nothing).f1 == 0
    assert confusion_of(match_image(nothing, some), 3)[:3, 3].sum() == 3
    assert confusion_of(match_image(some, nothing), 3)[3].sum() == 3


def test_precision_of_the_boxes_is_that_of_the_metric(tmp_path):
    path, samples = draw_coco(tmp_path, seed=3, detections=90)
    metric = FastCocoMetric(ann_file=path, classwise=True)
    figures = evaluate_by(metric, samples)
    assert metric.precision.shape == (10, 101, 6, 4)
    content = json.loads((tmp_path / 'annotations.json').read_text())
    truths = {}
    for sample in samples:
        rows = [a for a in content['annotations'] if a['image_id'] == sample['img_id']]
        corners = np.array([a['bbox'] for a in rows], np.float64).reshape(-1, 4)
        truths[sample['img_id']] = Boxes(
            np.hstack([corners[:, :2], corners[:, :2] + corners[:, 2:]]),
            np.array([10 - a['category_id'] for a in rows], int),
            np.array([1 - a['iscrowd'] for a in rows]),
        )
    found = {
        sample['img_id']: Boxes(
            *(sample['pred_instances'][key].numpy() for key in ('bboxes', 'labels', 'scores'))
        )
        for sample in samples
    }
    own = precision_of_boxes(found, truths, 6)
    np.testing.assert_allclose(own[..., 0], metric.precision[..., 0], atol=1e-6)
    by_class = [class_figures(own[:, :, label], metric.iou_thrs) for label in range(6)]
    assert by_class[5]['ap'] is by_class[5]['ap_50'] is None  # no box has the last class
    mean = np.mean([row['ap_50'] for row in by_class[:5]])
    assert mean == pytest.approx(figures['coco/bbox_mAP_50'], abs=2e-3)


def test_size_wise_figures_are_those_of_the_summary(tmp_path):
    path, samples = draw_coco(tmp_path, seed=5, detections=90)
    metric = FastCocoMetric(ann_file=path)
    figures = evaluate_by(metric, samples)
    rows = [class_figures(metric.precision[:, :, label], metric.iou_thrs) for label in range(6)]
    for size in ('small', 'medium', 'large'):
        values = [row[f'ap_{size}'] for row in rows if row[f'ap_{size}'] is not None]
        assert np.mean(values) == pytest.approx(figures[f'coco/bbox_mAP_{size[0]}'], abs=2e-3)


def test_confusion_of_pixels_counts_every_pair():
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randint(3, (9, 11), generator=generator)
    truth = torch.randint(4, (9, 11), generator=generator)
    truth[truth == 3] = 255
    counts = confusion_of_pixels(predicted, truth, 3)
    for row, column in itertools.product(range(3), range(3)):
        assert counts[row, column] == ((truth == row) & (predicted == column)).sum()
    assert confusion_of_pixels(predicted, torch.full_like(truth, 255), 3).sum() == 0
    unknown = truth.where(truth != 2, 7)  # check_masks=False lets labels through that are no class
    assert confusion_of_pixels(predicted, unknown, 3)[:2].equal(counts[:2])
    assert confusion_of_pixels(predicted, unknown, 3)[2].sum() == 0
    assert mean_iou(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]])) == pytest.approx(
        (3 / 4 + 2 / 3) / 2
    )
    assert mean_iou(np.zeros((3, 3), int)) == 1


def ranked(rank, path='x'):
    return RankedImage(path, (4, 4), (rank,), {}, None)


@pytest.mark.parametrize('num_images', [0, 1, 5, 8, 50])
def test_extremes_are_the_ends_of_the_sorted_list(num_images):
    ranks = np.random.default_rng(num_images).permutation(num_images).tolist()
    parts = Extremes(4), Extremes(4)
    made = []
    for i, rank in enumerate(ranks):
        parts[i % 2].add((rank,), lambda rank=rank: made.append(rank) or ranked(rank))
    parts[0].merge(parts[1:])
    worst, best = parts[0].worst_and_best()
    num_worst = min(4, -(-num_images // 2))
    assert [i.rank[0] for i in worst] == sorted(ranks)[:num_worst]
    num_best = min(4, num_images - num_worst)
    assert [i.rank[0] for i in best] == sorted(ranks, reverse=True)[:num_best]
    assert len(made) < max(30, num_images)


def write_log(folder, rows, *, resumed=False):
    data = folder / 'vis_data'
    data.mkdir(parents=True)
    data.joinpath('scalars.json').write_text('\n'.join(map(json.dumps, rows)) + '\n{"cut')
    data.joinpath('config.py').write_text(f'resume = {resumed}\n')


def step(i, **figures):
    return dict(lr=0.1, loss=10.0 / i, iter=i, epoch=1 + i // 10, step=i, **figures)


def test_a_log_is_read_from_the_start_of_a_training_that_was_resumed(tmp_path):
    assert read_scalars(tmp_path) == []
    assert newest_log(tmp_path) is None
    write_log(tmp_path / '20260101_000000', [step(5)])
    write_log(
        tmp_path / '20260102_000000',
        [step(10), {'coco/bbox_mAP': 0.25, 'step': 1}, step(20), step(30)],
    )
    write_log(
        tmp_path / '20260103_000000',
        [step(25), {'coco/bbox_mAP': 0.5, 'time': float('nan'), 'step': 3}],
        resumed=True,
    )
    (tmp_path / '20260104_000000' / 'vis_data').mkdir(parents=True)
    (tmp_path / '20260104_000000' / 'vis_data' / 'scalars.json').touch()  # of a test
    rows = read_scalars(tmp_path)
    assert newest_log(tmp_path).parts[-3] == '20260103_000000'
    assert curve(rows, 'loss') == ([10, 20, 25], [1.0, 0.5, 0.4])
    assert curve(rows, 'coco/bbox_mAP') == ([10, 25], [0.25, 0.5])
    assert [row['epoch'] for row in rows if row['is_val']] == [2, 3]
    assert curve(rows, 'time') == ([], [])


def epochs(first, last):
    """The log of a training of 10 steps an epoch, which is validated after each."""
    for epoch in range(first, last + 1):
        yield from (step(10 * epoch - 5), step(10 * epoch), validation(epoch))


def validation(epoch):
    return {'coco/bbox_mAP': epoch / 10, 'step': epoch}


@pytest.mark.parametrize('num_more', [0, 3])
def test_a_resumed_log_that_begins_with_a_validation(tmp_path, num_more):
    """It is made up for if the training was stopped in it; what came before must stay."""
    *whole, _ = epochs(1, 3)
    write_log(tmp_path / '1', whole)
    write_log(tmp_path / '2', [validation(3), *epochs(4, 3 + num_more)], resumed=True)
    rows = read_scalars(tmp_path)
    expected = list(epochs(1, 3 + num_more))
    assert [row['step'] for row in rows] == [row['step'] for row in expected]
    validated = list(range(1, 4 + num_more))
    assert curve(rows, 'coco/bbox_mAP') == (
        [10 * epoch for epoch in validated],
        [epoch / 10 for epoch in validated],
    )
    assert curve(rows, 'loss')[0] == list(range(5, 31 + 10 * num_more, 5))


def test_validations_that_were_made_again_are_there_once(tmp_path):
    write_log(tmp_path / '1', epochs(1, 5))
    write_log(tmp_path / '2', epochs(3, 3), resumed=True)
    assert [row['step'] for row in read_scalars(tmp_path)] == [row['step'] for row in epochs(1, 3)]


def test_the_log_beside_the_checkpoint_comes_before_that_of_the_work_folder(tmp_path):
    trained, work_dir = tmp_path / 'trained', tmp_path / 'eval'
    assert training_in(trained, work_dir) == dict(log=None, scalars=[])
    write_log(work_dir / '1', [step(7)])
    assert [row['iter'] for row in training_in(trained, work_dir)['scalars']] == [7]
    write_log(trained / '1', [step(8)])
    training = training_in(trained, work_dir)
    assert [row['iter'] for row in training['scalars']] == [8]
    assert training['log'] == str(trained / '1/vis_data/scalars.json')


def test_curves_show_losses_means_and_rates_and_not_the_classes(tmp_path):
    figures = {
        'coco/disc_precision': 0.1, 'coco/bbox_mAP': 0.2, 'coco/bbox_mAP_l': -1.0,
        'seg/mIoU': 50.0, 'seg/IoU/disc': 40.0, 'time': 0.1, 'step': 1,
    }  # fmt: skip
    write_log(tmp_path / '1', [step(10, **{'decode.loss_ce': 0.3, 'time': 1.0}), figures, step(20)])
    rows = read_scalars(tmp_path)
    assert panels(rows) == [
        ('loss', ['loss', 'decode.loss_ce'], True),
        ('validation coco', ['coco/bbox_mAP'], False),
        ('validation seg', ['seg/mIoU'], False),
        ('learning rate', ['lr'], False),
    ]
    save_curves(rows, tmp_path / 'curves.png')
    picture = cv2.imread(str(tmp_path / 'curves.png'))
    assert picture.shape[0] > 600
    assert picture.std() > 10
    save_curves([], tmp_path / 'none.png')
    assert not (tmp_path / 'none.png').exists()


@pytest.mark.parametrize('num_classes', [1, 6, 7, 120])
def test_plots_of_few_and_of_many_classes(num_classes):
    names = [f'class_{i} $x^2$' for i in range(num_classes)]
    curves = dict(
        recall=np.linspace(0, 1, 101).tolist(),
        precision={name: np.linspace(1, i / num_classes, 101) for i, name in enumerate(names)},
    )
    axis = draw_precision(curves).axes[0]
    mean = ['mean of all'] if num_classes > 1 else []
    named = [name.replace('$', r'\$') for name in names[:6]]
    assert axis.get_legend_handles_labels()[1] == [*mean, *named]
    assert len(axis.lines) == num_classes + len(mean)
    counts = np.diag(np.arange(num_classes))
    assert draw_confusion(names, counts).axes[0].get_images()[0].get_array().max() <= 1


def test_a_small_curve_goes_down_from_the_upper_left():
    points = [tuple(map(int, p.split(','))) for p in spark(np.linspace(1, 0, 101)).split()]
    assert points[0] == (0, 0)
    assert points[-1] == (100, 100)
    assert len(points) == 26


def test_what_is_confused_most_comes_first():
    rows = confusions(['a', 'b', 'c'], [[5, 5, 0], [1, 8, 1], [0, 0, 0]])
    assert [(r['truth'], r['prediction'], r['count'], r['share']) for r in rows] == [
        ('a', 'b', 5, 0.5), ('b', 'a', 1, 0.1), ('b', 'c', 1, 0.1),
    ]  # fmt: skip


def test_figures_as_text():
    values = (None, -1.0, 0.33, 1.0, 57.5, 1234567, 0)
    dash = '\N{EN DASH}'
    assert [figure(v) for v in values] == [dash, dash, '0.330', '1.000', '57.50', '1,234,567', '0']
    content = clean({1: [np.float32(0.5), float('nan'), np.int64(3), (None, 'x')]})
    assert content == {'1': [0.5, None, 3, [None, 'x']]}
    assert json.dumps(content, allow_nan=False)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / 'photo.png'
    cv2.imwrite(str(path), np.full((30, 60, 3), 90, np.uint8))
    return str(path)


def test_boxes_are_drawn_in_the_colour_of_right_and_wrong(photo):
    truth = Boxes(np.array([[5, 5, 25, 25]], np.float32), np.array([0]), np.ones(1))
    found = Boxes(
        np.array([[5, 5, 25, 25], [35, 12, 55, 28]], np.float32),
        np.array([0, 0]),
        np.array([0.9, 0.8]),
    )
    image = RankedImage(photo, (30, 60), (0,), {}, match_image(found, truth))
    picture = compare_boxes(image, ['disc'], has_truth=True)
    assert picture.shape == (200, 806, 3)
    left, right = picture[:, :400].reshape(-1, 3), picture[:, 406:].reshape(-1, 3)
    blue, vermilion = (178, 114, 0), (0, 94, 213)
    for panel, has_wrong in ((left, False), (right, True)):
        assert (panel == blue).all(1).any()
        assert (panel == vermilion).all(1).any() == has_wrong
    assert len(encode(picture, 10**6)) > len(encode(picture, 1)) > 100
    gone = RankedImage(photo + '.gone', (30, 60), (0,), {}, image.content)
    assert compare_boxes(gone, ['disc'], has_truth=True) is None
    neutral = compare_boxes(image, ['disc'], has_truth=False)
    assert not any((neutral == colour).all(-1).any() for colour in (blue, vermilion))
    assert (neutral == (167, 121, 204)).all(-1).any()


def test_masks_are_drawn_beside_the_truth_or_the_bare_image(photo):
    mask = cv2.imencode('.png', np.ones((30, 60), np.uint8))[1].tobytes()
    palette = [(0, 0, 0), (255, 0, 0)]
    both = compare_masks(RankedImage(photo, (30, 60), (0,), {}, (mask, mask)), palette)
    assert (both[:, :400] == both[:, 406:]).all()
    assert (both[0, 0] != 90).any()
    bare = compare_masks(RankedImage(photo, (30, 60), (0,), {}, (None, mask)), palette)
    assert (bare[:, :400] == 90).all()
    assert (bare[:, 406:] == both[:, 406:]).all()


def test_a_page_shows_names_as_text_and_has_no_reference_to_anything_outside(tmp_path):
    hostile = '<b>&"</script><script>document.title = 1</script>'
    report = dict(
        task='segmentation', metrics={'mIoU': 50.0, f'IoU/{hostile}': None}, has_truth=True,
        classes=[dict(name=hostile, iou=None, acc=float('nan'), pixels=0)], palette=[[1, 2, 3]],
        confusion=dict(names=[hostile], counts=[[0]]),
    )  # fmt: skip
    data = dict(
        title=hostile, checkpoint=hostile, created='now', command=hostile,
        versions={'torch': hostile}, config=hostile,
        speed=speed_of(dict.fromkeys(('data', 'model', 'metric'), 0.0), 0, 1),
        training=dict(log=None, scalars=[]),
    )  # fmt: skip
    for name in ('segmentation_confusion.png', 'report.html'):  # of an earlier report
        (tmp_path / name).write_text('earlier')
    with pytest.raises(KeyError):
        write_report(tmp_path, dict(data, training={}), [Part(report, [], [])])
    assert {path.read_text() for path in tmp_path.iterdir()} == {'earlier'}
    path = write_report(tmp_path, data, [Part(report, [], [])])
    page = path.read_text()
    assert '<b>' not in page
    assert '&lt;b&gt;&amp;' in page
    assert page.count('<script>') == page.count('</script>') == 1
    assert 'http' not in page.replace('http-equiv', '')
    assert 'There is no log of a training' in page
    assert (
        json.loads((tmp_path / 'report.json').read_text())['parts'][0]['classes'][0]['acc'] is None
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ['report.html', 'report.json']
