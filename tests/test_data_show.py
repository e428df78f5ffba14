import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mbv2_backbone.engine.drawing import letter_font
from mbv2_backbone.errors import UserError
from mbv2_backbone.sets.sheet import Group, contact_sheet, picked, shortened
from mbv2_backbone.sets.show import distinct_colours, show
from mbv2_backbone.sets.tiles import Classes, Picture, Shape, draw_picture

REPOSITORY = Path(__file__).parents[1]
RED, GREEN = (255, 0, 0), (0, 200, 0)
BOXES = Classes(('cat', 'dog'), (RED, GREEN))
MASKS = Classes(('background', 'road'), ((0, 0, 0), (0, 0, 250)))
TEAL = (60, 120, 90)  # a colour that no blurred letter has
PLAIN = np.full((100, 200, 3), TEAL[::-1], np.uint8)


def is_colour(pixels, rgb):
    return (pixels == np.array(rgb[::-1])).all(-1)


def draw(shapes=(), label_map=None, size=(200, 100), image=PLAIN):
    return draw_picture(Picture(image, shapes, label_map), size, BOXES, MASKS)


@pytest.mark.parametrize('scale', [1, 2])
def test_a_box_is_drawn_on_its_first_and_last_pixels(scale):
    picture = draw([Shape(0, (20, 30, 60, 80))], size=(200 * scale, 100 * scale))
    x1, y1, x2, y2 = (scale * v for v in (20, 30, 60, 80))
    is_red = is_colour(picture, RED)
    inside = np.zeros_like(is_red)
    inside[y1:y2, x1:x2] = True
    ring = inside.copy()
    ring[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2] = False
    assert is_red[ring].all()
    assert not is_red[inside & ~ring].any()
    assert not is_red[y2:].any()
    assert not is_red[:, x2:].any()
    assert is_red[:y1].any(), 'the name stands above the box'


def test_an_ignored_box_is_dashed():
    whole, dashed = (
        is_colour(draw([Shape(1, (20, 30, 80, 90), is_ignored=flag)]), GREEN)[85:90, 20:80]
        for flag in (False, True)
    )
    assert whole.any(0).all()
    assert 0.3 < dashed.any(0).mean() < 0.8


def test_boxes_at_the_edges_stay_inside():
    for box in [(0, 0, 200, 100), (-5, -5, 300, 300), (199, 99, 200, 100), (10, 10, 10.2, 10.2)]:
        picture = draw([Shape(0, box)])
        assert picture.shape == (100, 200, 3)
        assert is_colour(picture, RED).any()


def test_no_tag_covers_another():
    shapes = [Shape(0, (50, 40, 90, 80))] * 5
    font = letter_font((308, 308))
    tag = np.ceil(font.getlength('cat')) * font.size
    red = is_colour(draw(shapes), RED)
    one = is_colour(draw(shapes[:1]), RED)
    # Above, in and below the box there is room; a fifth tag has none and is left out.
    assert 1.5 * tag < red.sum() - one.sum() < 4 * 1.6 * tag


def test_a_name_wider_than_the_tile_is_left_out():
    classes = Classes(('a name much wider than a small tile',), (RED,))
    picture = draw_picture(Picture(PLAIN, [Shape(0, (20, 40, 60, 80))]), (60, 30), classes, MASKS)
    assert is_colour(picture, RED).any()
    assert not is_colour(picture[:10], RED).any()


def test_outlines_are_filled():
    polygon = np.array([[20, 20], [80, 20], [80, 80], [20, 80]])
    picture = draw([Shape(1, (20, 20, 80, 80), [polygon])])
    assert picture[60, 60, 1] > 140
    assert is_colour(picture[60, 150], TEAL)


def test_masks_are_laid_over_and_black_ones_are_not():
    label_map = np.zeros((100, 200), np.uint8)
    label_map[:50] = 1
    label_map[:, 150:] = 255
    picture = draw(label_map=label_map)
    assert picture[20, 20, 0] > 150
    assert is_colour(picture[80, 20], TEAL)
    assert is_colour(picture[20, 180], TEAL)


def test_the_caller_s_label_map_is_not_changed():
    label_map = np.zeros((100, 200), np.uint8)
    draw(label_map=label_map)
    assert not label_map.any()


def sheet_of(groups, **kwargs):
    return contact_sheet(groups, title='a set', boxes=BOXES, masks=MASKS, **kwargs)


def test_a_sheet_of_one_empty_image():
    sheet = sheet_of([Group('empty.jpg', [Picture(PLAIN)])])
    assert is_colour(sheet, TEAL).sum() == 480 * 240
    assert not is_colour(sheet, RED).any()


def test_the_legend_counts_what_is_labelled():
    labelled = Picture(PLAIN, [Shape(0, (10, 10, 50, 50)), Shape(0, (60, 60, 90, 90))])
    augmented = Picture(PLAIN, [Shape(1, (10, 10, 50, 50))])
    with_both = sheet_of([Group('a.jpg', [labelled, augmented])], captions=['one', 'two'])
    bottom = with_both[-24:]
    assert is_colour(bottom, RED).any()
    assert not is_colour(bottom, GREEN).any()


def test_nothing_of_a_long_title_is_cut():
    groups = [Group('a.jpg', [Picture(PLAIN)])]
    title = 'configs/a_long_name_of_a_config.py, train: 1 of 1 images, seed 0 ' * 3
    sheet = contact_sheet(groups, title=title, boxes=BOXES, masks=MASKS)
    assert sheet.shape[1] > letter_font((560, 560)).getlength(title)
    assert (sheet[:40, -60:] < 100).any(), 'the end of the title is not there'
    assert (sheet[:, -2:] == 255).all()


def test_long_file_names_lose_their_middle():
    assert shortened('a.jpg', 200) == 'a.jpg'
    name = 'the_beginning_' + 'x' * 200 + '_the_end.jpg'
    short = shortened(name, 200)
    assert letter_font((392, 392)).getlength(short) <= 200
    assert '…' in short
    assert short.startswith('the_b')
    assert short.endswith('end.jpg')


def test_picked():
    assert picked(3, 16, 0) == [0, 1, 2]
    assert picked(100, 5, 1) == picked(100, 5, 1) != picked(100, 5, 2)
    assert len(set(picked(100, 50, 0))) == 50
    with pytest.raises(UserError, match='at least 1'):
        picked(3, 0, 0)
    with pytest.raises(UserError, match='no image'):
        picked(0, 1, 0)


def test_distinct_colours():
    colours = np.array(distinct_colours(14), float)
    distance = np.abs(colours[:, None] - colours[None]).sum(-1) + 999 * np.eye(14)
    assert distance.min() > 40
    assert distinct_colours(0) == []


def config_for(folder, name, sample_set):
    """Write a config that takes the small sample set."""
    path = folder / f'of_{name}'
    base = REPOSITORY / 'configs' / name
    path.write_text(f"_base_ = '{base}'\n")
    return str(path), [f'data_root={sample_set}/']


CONFIGS = (
    'ssdlite_mbv2_sample.py',
    'deeplabv3_mbv2_sample.py',
    'ssdlite-deeplabv3_mbv2_sample.py',
)


@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_of_each_task(name, sample_set, tmp_path):
    config, overrides = config_for(tmp_path, name, sample_set)
    files = []
    for out, seed in (('a.png', 3), ('b.png', 3), ('c.png', 4)):
        size = show(config, str(tmp_path / out), num=3, seed=seed, overrides=overrides)
        files.append((tmp_path / out).read_bytes())
    assert files[0] == files[1] != files[2]
    sheet = cv2.imread(str(tmp_path / 'c.png'))
    assert sheet.shape[:2] == size
    columns = sheet[:, 18:].shape[1] // 4
    tiles = [sheet[60:500, 18 + i * columns : 18 + i * columns + 200] for i in range(4)]
    assert all((tiles[0] != tile).mean() > 0.05 for tile in tiles[1:]), 'nothing was augmented'


def test_val_is_shown_as_labelled_only(sample_set, tmp_path):
    config, overrides = config_for(tmp_path, CONFIGS[0], sample_set)
    out = str(tmp_path / 'a.png')
    height, width = show(config, out, split='val', num=2, overrides=overrides)
    assert width > 2 * 480 > height
    with pytest.raises(UserError, match='other_dataloader'):
        show(config, out, split='other', overrides=overrides)


def augmented_boxes(pipeline, sample_set, tmp_path, seed=0):
    """The first picture with a box as labelled and after a pipeline, as `show` draws them."""
    from mmengine.registry import DATASETS

    from mbv2_backbone.sets import show_config

    config, overrides = config_for(tmp_path, CONFIGS[0], sample_set)
    cfg = show_config.load_config(config, overrides)
    cfg.train_dataloader.dataset.pipeline = pipeline
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    dataset.full_init()
    index = next(i for i, info in enumerate(dataset) if len(info['data_samples'].gt_instances))
    info = dataset.get_data_info(index)
    raw = show_config._labelled(info, dataset)
    (drawn,) = show_config._augmented(dataset, index, 1, (seed, index), info['img_path'])
    return raw, drawn


def test_boxes_follow_the_augmentation(sample_set, tmp_path):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(192, 48), keep_ratio=False),
        dict(type='RandomFlip', prob=1.0),
        dict(type='PackDetInputs'),
    ]
    raw, drawn = augmented_boxes(pipeline, sample_set, tmp_path)
    assert raw.image.shape == (96, 96, 3)
    assert drawn.image.shape == (48, 192, 3)
    expected = cv2.resize(raw.image, (192, 48))[:, ::-1]
    assert np.abs(drawn.image.astype(int) - expected).mean() < 3
    for before, after in zip(raw.shapes, drawn.shapes, strict=True):
        x1, y1, x2, y2 = before.xyxy
        np.testing.assert_allclose(
            after.xyxy, (192 - 2 * x2, y1 / 2, 192 - 2 * x1, y2 / 2), atol=1e-3
        )
        assert before.label == after.label


def test_the_seed_draws_the_augmentation(sample_set, tmp_path):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='RandomCrop', crop_size=(50, 50), allow_negative_crop=True),
        dict(type='PackDetInputs'),
    ]
    first, again, other = (
        augmented_boxes(pipeline, sample_set, tmp_path, seed)[1].image for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_pipeline_that_rejects_everything(sample_set, tmp_path):
    config, overrides = config_for(tmp_path, CONFIGS[0], sample_set)
    crop = "dict(type='RandomCrop', crop_size=(1, 1), allow_negative_crop=False)"
    Path(config).write_text(
        Path(config).read_text()
        + "load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]\n"
        + f"train_pipeline = [*load, {crop}, dict(type='PackDetInputs')]\n"
        + 'train_dataloader = dict(dataset=dict(pipeline=train_pipeline))\n'
    )
    with pytest.raises(UserError, match='rejected'):
        show(config, str(tmp_path / 'a.png'), num=24, overrides=overrides)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_a_folder(split, sample_set, tmp_path):
    for name, seed in (('a.png', 1), ('b.png', 1), ('c.png', 2)):
        show(str(sample_set), str(tmp_path / name), split=split, num=4, seed=seed)
    first, again, other = ((tmp_path / f'{name}.png').read_bytes() for name in 'abc')
    assert first == again != other


def test_a_folder_of_one_image(tmp_path):
    folder = tmp_path / 'set'
    folder.mkdir()
    cv2.imwrite(str(folder / 'a.png'), PLAIN)
    (folder / 'a.json').write_text(
        '{"shapes": [{"label": "cat", "shape_type": "rectangle", "points": [[50, 25], [100, 75]]}],'
        ' "imagePath": "a.png", "imageWidth": 200, "imageHeight": 100}'
    )
    show(str(folder), str(tmp_path / 'sheet.png'))
    sheet = cv2.imread(str(tmp_path / 'sheet.png'))
    is_drawn = is_colour(sheet, distinct_colours(1)[0])
    top, left = np.argwhere(is_colour(sheet, TEAL)).min(0)
    tile = is_drawn[top : top + 240, left : left + 480]
    assert tile[60:180, 120].all()
    assert tile[60:180, 239].all()
    assert not tile[64:176, 124:236].any()
    assert not tile[:, 240:].any()


def test_a_folder_with_masks_alone(tmp_path):
    for folder, pixels in (('images', PLAIN), ('masks', np.ones((100, 200), np.uint8))):
        (tmp_path / 'set' / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / 'set' / folder / 'a.png'), pixels)
    (tmp_path / 'set' / 'classes.txt').write_text('background\nroad\n')
    show(str(tmp_path / 'set'), str(tmp_path / 'sheet.png'))
    sheet = cv2.imread(str(tmp_path / 'sheet.png'))
    blended = sheet[len(sheet) // 2, 240]  # a long title makes the sheet wider than the picture
    assert is_colour(sheet, blended[::-1]).sum() == 480 * 240
    expected = 0.55 * np.array(distinct_colours(2)[1]) + 0.45 * np.array(TEAL)
    np.testing.assert_allclose(blended[::-1], expected, atol=1)


def test_what_cannot_be_shown_is_said(sample_set, tmp_path):
    out = str(tmp_path / 'a.png')
    with pytest.raises(UserError, match='train or val'):
        show(str(sample_set), out, split='other')
    with pytest.raises(UserError, match='is a folder'):
        show(str(sample_set), out, overrides=['a=1'])
    with pytest.raises(UserError, match='cannot write'):
        show(str(sample_set), str(tmp_path / 'no' / 'a.png'))
    with pytest.raises(UserError, match='found nothing at'):
        show(str(tmp_path / 'nothing'), out)


def test_the_tool(sample_set, tmp_path):
    out = tmp_path / 'sheet.png'
    command = [sys.executable, str(REPOSITORY / 'tools' / 'data.py'), 'show', str(sample_set)]
    environment = dict(os.environ, PYTHONPATH=str(REPOSITORY))
    done = subprocess.run(
        [*command, '--num', '2', '--out', str(out)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    height, width = cv2.imread(str(out)).shape[:2]
    assert f'wrote {out}, {width}x{height} pixels' in done.stdout
