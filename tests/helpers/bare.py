"""An environment that has a few packages and nothing else."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from helpers.paths import ROOT

CODE = """
import json, sys
from mbv2_backbone.deploy import Predictor
found = Predictor(sys.argv[1], runtime=sys.argv[2], threads=1)(sys.argv[3])
heavy = {'torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg'} & set(sys.modules)
print(json.dumps([found.boxes.tolist(), found.names, found.likeliest, sorted(heavy)]))
"""


def predict_in_a_bare_environment(folder, packages, path, runtime, image):
    """Predict in an environment of some packages; return boxes, names, classes, heavy modules."""
    subprocess.run(
        [sys.executable, '-m', 'venv', '--without-pip', '--symlinks', folder / 'venv'], check=True
    )
    site = next((folder / 'venv').glob('lib/python*/site-packages'))
    for name in packages:
        spec = find_spec(name)
        if spec is None:
            continue
        source = Path(next(iter(spec.submodule_search_locations)))
        (site / name).symlink_to(source)
        distribution = {'PIL': 'pillow', 'cv2': 'opencv_python*'}.get(name, spec.name.lower())
        for libraries in source.parent.glob(f'{distribution}.libs'):
            (site / libraries.name).symlink_to(libraries)
    (site / 'mbv2_backbone').symlink_to(ROOT / 'mbv2_backbone')
    python = folder / 'venv' / 'bin' / 'python'
    for heavy in ('torch', 'mmengine', 'mmcv'):
        missing = subprocess.run([python, '-c', f'import {heavy}'], capture_output=True)
        assert missing.returncode == 1
    result = subprocess.run(
        [python, '-c', CODE, path, runtime, image], capture_output=True, text=True, cwd=folder
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)
