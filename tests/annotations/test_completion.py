"""The remarks on COCO files that other evaluators misread, and what is filled in."""

import pytest

from mbv2_backbone.annotations.completion import complete_coco


def content(**changes):
    """Return a sound file with two objects, changed."""
    rows = [dict(id=n, image_id=0, category_id=0, area=9.5, iscrowd=0) for n in (1, 2)]
    names = dict(images=[dict(id=0)], categories=[dict(id=0)], annotations=rows)
    return names | changes


def test_a_sound_file_has_no_remarks_and_stays():
    data = content()
    assert complete_coco(data) == []
    assert data == content()
    assert complete_coco(dict(images=[], categories=[])) == []


@pytest.mark.parametrize(
    ('ids', 'said'),
    [
        ((0, 1), '1 of 2 annotation ids are not whole numbers from 1 to 2^53, each once: 0'),
        ((7, 7), '2 of 2 annotation ids are not whole numbers from 1 to 2^53, each once: 7'),
        (('00012', -3), "each once: '00012', -3"),
        ((2**53 + 1, None), 'each once: 9007199254740993, None'),
        ((2.0, [1]), 'each once: 2.0, [1]'),
    ],
    ids=str,
)
def test_annotation_ids_are_named_and_replaced(ids, said):
    data = content()
    for row, number in zip(data['annotations'], ids, strict=True):
        row['id'] = number
    (remark,) = complete_coco(data)
    assert remark.endswith(said)
    assert [row['id'] for row in data['annotations']] == [1, 2]


def test_ids_of_images_and_categories_are_named_and_stay():
    data = content(images=[dict(id='a'), dict(id=-1)], categories=[dict(id=2**60)])
    assert complete_coco(data) == [
        "2 of 2 image ids are not whole numbers from 0 to 2^53, each once: 'a', -1",
        f'1 of 1 category ids are not whole numbers from 0 to 2^53, each once: {2**60}',
    ]
    assert [row['id'] for row in data['images'] + data['categories']] == ['a', -1, 2**60]


def test_what_is_left_out():
    data = content()
    first, second = data['annotations']
    del first['iscrowd']
    second |= dict(iscrowd='1', area=float('nan'))
    assert complete_coco(data) == [
        '1 of 2 annotations have no area',
        '2 of 2 annotations have no iscrowd of 0 or 1',
    ]
    assert (first['iscrowd'], second['iscrowd']) == (0, 1)
