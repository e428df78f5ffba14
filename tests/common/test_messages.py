"""Lists in messages are cut to a few entries."""

import pytest

from mbv2_backbone.common.messages import first_lines, first_names


@pytest.mark.parametrize(
    ('count', 'names', 'lines'),
    [
        (0, '', []),
        (1, '0', ['  0']),
        (3, '0, 1, 2', ['  0', '  1', '  2']),
        (5, '0, 1, 2 and 2 more', ['  0', '  1', '  2', '  and 2 more']),
    ],
)
def test_the_entries_left_out_are_counted(count, names, lines):
    entries = [str(i) for i in range(count)]
    assert first_names(iter(entries)) == names
    assert first_names(entries, 3) == names
    assert first_lines(entries, 3) == lines
