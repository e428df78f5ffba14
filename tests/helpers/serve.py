"""The web page of `tools/predict.py --serve` on a free port, and an image to upload."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from helpers.deploy import random_images
from helpers.paths import ROOT
from PIL import Image

SIZE = (96, 128)
ENV = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')


class Page:
    """`tools/predict.py --serve` on a free port."""

    def __init__(self, config, checkpoint, options, before=None):
        command = [sys.executable, str(ROOT / 'tools/predict.py'), config, checkpoint, '--serve',
                   '--port', '0', '--cfg-options', *options]  # fmt: skip
        self.process = subprocess.Popen(
            command, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=before,
        )  # fmt: skip
        said = []
        for line in self.process.stdout:
            said.append(line)
            if line.startswith('Serving on '):
                self.url = line.split()[2]
                return
        raise AssertionError(''.join(said))

    def ask(self, data, **headers):
        request = urllib.request.Request(f'{self.url}/predict', data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def refusal(self, data, code=400, **headers):
        with pytest.raises(urllib.error.HTTPError) as info:
            self.ask(data, **headers)
        assert info.value.code == code
        return info.value.read().decode()

    def stop(self):
        """Press Ctrl-C; return the exit status and the output."""
        self.process.send_signal(signal.SIGINT)
        said, _ = self.process.communicate(timeout=30)
        return self.process.returncode, said


@contextmanager
def serving(config, checkpoint, options):
    page = Page(config, checkpoint, options)
    yield page
    status, said = page.stop()
    assert status == 0, said
    assert 'Stopped' in said.splitlines()
    assert 'Traceback' not in said


def save_image(folder):
    path = folder / 'image.png'
    Image.fromarray(random_images(1, SIZE)[0]).save(path)
    return path
