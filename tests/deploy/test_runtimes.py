"""What an exported file is, and what is said of those that do not run here."""

import pytest

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy.runtimes import is_exported, load_runtime


def test_a_page_is_exported_and_runs_in_a_browser(tmp_path):
    (tmp_path / 'x_web').mkdir()
    (tmp_path / 'x_web' / 'model.onnx').touch()
    (tmp_path / 'x.html').touch()
    for name, instead in (('x_web', r'give .*x_web/model\.onnx'), ('x.html', '--to onnx')):
        assert is_exported(str(tmp_path / name))
        with pytest.raises(UserError, match=rf'{name} predicts in a browser; .*{instead}'):
            load_runtime(str(tmp_path / name))


def test_a_folder_of_something_else_is_a_checkpoint(tmp_path):
    assert not is_exported(str(tmp_path))


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('x.mlpackage', 'runs in an app on Apple devices'),
        ('x.ncnn.bin', 'is not an exported model; expected'),
        ('x.tflite', 'no exported model at'),
    ],
)
def test_what_cannot_be_loaded_is_named(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        load_runtime(str(tmp_path / name))
