"""Objects cut out into a folder for each class."""

import shutil

import cv2
import numpy as np
import pytest
from helpers.convert import CLASSES, outlined, random_dataset, write_coco_splits
from helpers.files import contents
from helpers.small import tool

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.data.check.check import check_data
from mbv2_backbone.workbench.data.conversion import convert
from mbv2_backbone.workbench.data.formats.folders import crop_of


@pytest.mark.parametrize(
    ('box', 'expected'),
    [
        ((10, 10, 20, 20), (8, 22, 8, 22)),  # rows and columns; 6.5 on each side of the centre
        ((10, 10, 30, 20), (2, 28, 7, 33)),
        ((0, 0, 4, 40), (0, 46, 0, 28)),
        ((35, 45, 40, 50), (44, 50, 34, 40)),
    ],
    ids=['square', 'wide', 'at the left edge', 'in the corner'],
)
def test_a_crop_is_square_with_a_margin_and_ends_at_the_edge(box, expected):
    image = np.arange(50 * 40).reshape(50, 40, 1)
    centres = [(box[i] + box[i + 2]) / 2 for i in (1, 0)]
    half = 0.65 * max(box[2] - box[0], box[3] - box[1])
    rows, columns = (
        [k for k in range(side) if round(centre - half) <= k < round(centre + half)]
        for centre, side in zip(centres, (50, 40), strict=True)
    )
    assert (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1) == expected
    np.testing.assert_array_equal(crop_of(image, box), image[np.ix_(rows, columns)])


def test_every_object_that_is_not_ignored_is_cut_out(tmp_path):
    source, splits = random_dataset(tmp_path / 'in', seed=3)
    before = contents(source)
    done = convert(source, tmp_path / 'out', to='folders')
    assert contents(source) == before
    learned = {
        split: [
            (name, i, item)
            for name, (_, _, objects) in images.items()
            for i, item in enumerate(objects)
            if not item['iscrowd']
        ]
        for split, images in splits.items()
    }
    left_out = sum(
        item['iscrowd'] for s in splits.values() for *_, objects in s.values() for item in objects
    )
    assert left_out > 0
    assert done.notes[-1] == f'{left_out} ignored object(s) are left out'
    found = sorted(str(p.relative_to(tmp_path / 'out')) for p in (tmp_path / 'out').rglob('*.jpg'))
    names = [
        f'{split}/{CLASSES[(item["category_id"] - 2) // 3]}/{name[:-4]}_{i}.jpg'
        for split, objects in learned.items()
        for name, i, item in objects
    ]
    assert found == sorted(names)
    name, i, item = learned['val'][0]
    x, y, w, h = item['bbox']
    path = f'{CLASSES[(item["category_id"] - 2) // 3]}/{name[:-4]}_{i}.jpg'
    cut = crop_of(cv2.imread(str(source / 'val' / name)), (x, y, x + w, y + h))
    written = cv2.imdecode(np.fromfile(tmp_path / 'out/val' / path, np.uint8), cv2.IMREAD_COLOR)
    assert written.shape == cut.shape
    assert np.abs(written.astype(int) - cut).mean() < 30  # noise, as JPEG


def test_the_tool_cuts_out_what_a_classifier_trains_on(sample_dataset, tmp_path):
    source, out = tmp_path / 'sample', tmp_path / 'crops'
    shutil.copytree(sample_dataset / 'JPEGImages', source / 'JPEGImages')
    (source / 'annotations').mkdir()
    for split in ('train', 'val'):  # other tests may have added files
        shutil.copy(sample_dataset / f'annotations/{split}.json', source / 'annotations')
    done = tool('data', 'convert', source, out, '--to', 'folders')
    assert done.returncode == 0, done.stderr
    assert f'coco to folders: {out}' in done.stdout
    report = check_data(out, task='cls')
    assert not report.stops_training
    drawn = {p.relative_to(sample_dataset / 'sample_crops').parts[:2]: p for p in
             (sample_dataset / 'sample_crops').rglob('*.jpg')}  # fmt: skip
    cut = {p.relative_to(out).parts[:2] for p in out.rglob('*.jpg')}
    assert cut == drawn.keys()
    assert len([*out.rglob('*.jpg')]) == len([*(sample_dataset / 'sample_crops').rglob('*.jpg')])


def test_what_cannot_be_cut_out_is_refused(tmp_path):
    ignored = dict(bbox=[2, 3, 18, 12], iscrowd=1)
    source = write_coco_splits(tmp_path / 'in', {'train': {'a.png': (40, 30, [ignored])}})
    with pytest.raises(UserError, match='Folders of classes cannot hold ignored objects'):
        convert(source, tmp_path / 'out', to='folders')
    source = outlined(tmp_path / 'more')
    names = source / 'annotations/instances_train.json'
    names.write_text(names.read_text().replace(CLASSES[0], 'a/b'))
    with pytest.raises(UserError, match='the classes a/b cannot be names of folders; rename them'):
        convert(source, tmp_path / 'out', to='folders')
    assert not (tmp_path / 'out').exists()
