"""docs/quickstart.ipynb runs from the first cell to the last, and shows what it says."""

import base64
import io

import nbformat
import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.resume import environment
from nbclient import NotebookClient
from PIL import Image

NOTEBOOK = nbformat.read(ROOT / 'docs' / 'quickstart.ipynb', as_version=4)


def test_it_is_kept_without_outputs():
    """They would hold paths of the machine that it ran on."""
    nbformat.validate(NOTEBOOK)
    cells = [cell for cell in NOTEBOOK.cells if cell.cell_type == 'code']
    assert [cell.outputs for cell in cells] == [[]] * len(cells)
    assert {cell.execution_count for cell in cells} == {None}


@pytest.mark.slow
def test_it_runs_and_shows_pictures(tmp_path, monkeypatch):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    book = NotebookClient(
        NOTEBOOK, timeout=3600, kernel_name='python3', resources={'metadata': {'path': tmp_path}}
    ).execute()
    nbformat.write(book, tmp_path / 'executed.ipynb')
    shown = {
        cell.source.split('(')[0].split(' = ')[-1]: [
            output.data for output in cell.outputs if 'data' in output
        ]
        for cell in book.cells
        if cell.cell_type == 'code'
    }
    for call, kind in dict(show='image/png', train='image/png', predict='image/jpeg').items():
        (picture,) = [data[kind] for data in shown[call] if kind in data]
        image = Image.open(io.BytesIO(base64.b64decode(picture)))
        assert min(image.size) > 300
    assert 'srcdoc' in shown['evaluate'][0]['text/html']
    assert shown['export'][-1]['text/plain'].endswith('Wrote quickstart/exported/mine.onnx')
    assert (tmp_path / 'quickstart/exported/mine.onnx').is_file()
    metrics = eval(shown['evaluate'][1]['text/plain'], dict(np=np))
    assert metrics['coco/bbox_mAP'] > 0.1
    names = {name for name, _ in eval(shown['Predictor'][0]['text/plain'])}
    assert set() < names <= {'disc', 'square', 'triangle', 'star'}
