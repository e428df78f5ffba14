"""COCO rows of predictions."""

import json

import pytest
import torch
from mmengine.structures import BaseDataElement

from mbv2_backbone.workbench.predict.coco_rows import CocoRows, RowFile, coco_category_ids

ROWS = [dict(id=i, score=i / 8, name='\u00e9"') for i in range(5)]


def test_an_image_has_a_row_for_each_of_its_five_likeliest_classes():
    rows = CocoRows((), (), tuple('abcdefg'), score_thr=0.3)
    scores = torch.tensor([0.02, 0.25, 0.08, 0.3, 0.05, 0.2, 0.1])
    found = rows(BaseDataElement(pred_scores=scores), 3, 'x.jpg')
    assert [(row['category_name'], row['category_id'], row['score']) for row in found] == [
        ('d', 3, 0.3), ('b', 1, 0.25), ('f', 5, 0.2), ('g', 6, 0.1), ('c', 2, 0.08)
    ]  # fmt: skip
    assert all((row['image_id'], row['file_name']) == (3, 'x.jpg') for row in found)


@pytest.mark.parametrize('count', [0, 1, 5])
def test_rows_are_written_as_they_arrive(count, tmp_path):
    path = tmp_path / 'rows.json'
    with RowFile(path) as file:
        file.add(ROWS[:1] * min(1, count))
        file.add(iter(ROWS[1:count]))
        assert not path.exists()
    assert json.loads(path.read_text()) == ROWS[:count]
    assert file.count == count
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('count', [0, 3])
def test_an_interrupted_run_leaves_its_rows_under_another_name(count, tmp_path):
    path = tmp_path / 'rows.json'
    path.write_text('of the last run')

    def cut_off():
        yield from ROWS[:count]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), RowFile(path) as file:
        file.add(cut_off())
    assert path.read_text() == 'of the last run'
    part = tmp_path / 'rows.json.part'
    assert part.exists() == bool(count)
    if count:
        assert json.loads(part.read_text()) == ROWS[:count]


def test_coco_category_ids():
    from mmdet.datasets import CocoDataset

    ids = coco_category_ids(CocoDataset.METAINFO['classes'])
    assert (ids[0], ids[11], ids[79], len(set(ids))) == (1, 13, 90, 80)
    assert coco_category_ids(('cat', 'dog')) == [1, 2]
