"""A model with its exports, to run each of them beside it."""

from dataclasses import replace

import numpy as np
import onnx
import torch
from helpers.deploy import write_config
from mmengine.dataset import pseudo_collate

from mbv2_backbone.weights.whole_model import build_model
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.export.compare import Comparison, compare_predictions
from mbv2_backbone.workbench.export.geometry import read_geometry
from mbv2_backbone.workbench.export.graph import ExportGraph, describe
from mbv2_backbone.workbench.export.to_onnx import export_onnx, with_final_outputs
from mbv2_backbone.workbench.predict.file_predictor import array_pipeline

RUNTIMES = (('model.onnx', 'onnxruntime'), ('model.onnx', 'openvino'), ('model.xml', 'openvino'))


class Case:
    """A model, and its exports in a folder."""

    def __init__(self, folder, text, base, sample_dataset, *, size=None, batch_size=1):
        from mbv2_backbone.workbench.export.to_openvino import save_openvino, to_openvino

        config, checkpoint, options = write_config(folder, text, base, sample_dataset)
        self.cfg = load_config(config, options)
        self.model, _ = build_model(self.cfg, checkpoint)
        self.geometry = read_geometry(self.cfg, size)
        self.graph = ExportGraph(self.model, self.geometry).eval()
        names = summarise(self.cfg)
        raw = describe(self.graph, names, batch_size=batch_size, is_raw=True)
        final = replace(raw, is_raw=False)
        self.folder = folder
        self.raw_onnx = export_onnx(self.graph, raw)
        self.final_onnx = with_final_outputs(self.raw_onnx, final)
        for name, model, metadata in (
            ('raw', self.raw_onnx, raw),
            ('final', self.final_onnx, final),
        ):
            (folder / name).mkdir()
            onnx.save(model, folder / name / 'model.onnx')
            save_openvino(to_openvino(model, metadata), folder / name / 'model.xml')

    def predict(self, images):
        """Return what the toolbox predicts on images `(H, W, 3)` uint8 RGB of any size."""
        pipeline = array_pipeline(self.cfg)
        packed = [
            pipeline(dict(img=np.ascontiguousarray(image[..., ::-1]), img_id=i))
            for i, image in enumerate(images)
        ]
        with torch.no_grad():
            return self.model.test_step(pseudo_collate(packed))


def assert_same_boxes(found, expected):
    comparison = Comparison()
    compare_predictions(comparison, found, expected)
    assert comparison.num_boxes > 20 * len(found)
    assert comparison.num_matched == comparison.num_boxes, str(comparison)
    assert comparison.num_extra == 0
    assert comparison.score_difference < 1e-4
