"""Reading boxes from annotation files."""

import pytest

from mbv2_backbone.annotations.boxes import box_problem, read_voc


def test_box_problem_without_a_known_image_size():
    assert box_problem((500, 500, 600, 600)) is None
    assert box_problem((-9, -9, 0, 5)) == 'outside the image'
    assert box_problem((-9, -9, 1, 5), (80, 60)) is None


@pytest.mark.parametrize(
    ('text', 'number'),
    [('10', 10), (' 10.5\n', 10.5), ('1e1', 10), ('1_0', None), ('\u0661\u0660', None), ('', None)],
)
def test_numbers_of_voc_files_are_read_as_other_readers_do(text, number):
    """Python also accepts underscores and the digits of every script."""
    corners = ''.join(f'<{key}>{text}</{key}>' for key in ('xmin', 'ymin', 'xmax', 'ymax'))
    xml = f'<annotation><object><name>a</name><bndbox>{corners}</bndbox></object></annotation>'
    _, (item,) = read_voc(xml.encode())
    assert item.stored == (None if number is None else (number,) * 4)
