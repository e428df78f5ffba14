"""An export that finds no space, or no folder, leaves nothing behind and says so in one message."""

import resource
import shutil
import subprocess

import pytest
from helpers.deploy import exporter

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.export.formats import FORMATS

pytestmark = pytest.mark.runtime
# The converters to ncnn and LiteRT end the whole process, so that space is looked for before.
ENDS_WITH_A_MESSAGE = ('onnx', 'openvino', 'torch-export', 'executorch', 'coreml')


@pytest.fixture(scope='module')
def exported(sample_dataset, tmp_path_factory):
    """A function that exports a detector to a format, into a folder."""
    result = exporter(tmp_path_factory.mktemp('no_space'), sample_dataset)
    result.model('det')
    return lambda to, out: result('det', to=to, out=str(out), num_images=1)


@pytest.fixture
def mounted(tmp_path):
    """A function that mounts a file system of 1 MB, and returns the mount point."""
    place = tmp_path / 'disk'
    place.mkdir()

    def mount(options):
        command = ['mount', '-t', 'tmpfs', '-o', f'size=1m,{options}', 'tmpfs', str(place)]
        if shutil.which('mount') is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip('a file system can be mounted by root on Linux alone')
        return place

    yield mount
    subprocess.run(['umount', str(place)], capture_output=True)


@pytest.mark.parametrize('to', FORMATS)
def test_without_space_there_is_one_message_and_nothing_else(exported, mounted, to):
    # pnnx ends the whole process where it finds no space, so that it must not come to that.
    out = mounted('rw') / 'out'
    with pytest.raises(UserError, match=r'disk.* has 1\.0 MB left, .* needs about [1-9]\d* MB'):
        exported(to, out)
    assert list(out.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(exported, mounted):
    with pytest.raises(UserError, match=r'cannot write to the folder .*disk/out.*--out'):
        exported('onnx', mounted('ro') / 'out')


@pytest.fixture
def _small_files(exported):
    """Let no file grow beyond 100 kB, as if others had filled the disk; the model is larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures('_small_files')
@pytest.mark.parametrize('to', ENDS_WITH_A_MESSAGE)
def test_space_that_ends_meanwhile_is_named(exported, tmp_path, to):
    with pytest.raises(UserError, match=r'cannot write .*free some space'):
        exported(to, tmp_path / 'out')
    assert list((tmp_path / 'out').iterdir()) == []


@pytest.mark.parametrize('to', ['onnx', 'coreml'])
def test_a_file_in_the_place_of_the_folder_is_named(exported, tmp_path, to):
    (tmp_path / 'out').write_text('taken')
    with pytest.raises(UserError, match=r'cannot write to the folder .*out.*--out'):
        exported(to, tmp_path / 'out')
    assert (tmp_path / 'out').read_text() == 'taken'
