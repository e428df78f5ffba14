"""Average what a classifier says of several views of an image."""

from __future__ import annotations

import torch
from mmengine.model import BaseTTAModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement


@MODELS.register_module()
class ClassTTAModel(BaseTTAModel):
    """A classifier whose prediction is the mean of the probabilities over all views."""

    def merge_preds(self, data_samples_list: list[list[BaseDataElement]]) -> list[BaseDataElement]:
        """Return the first view of each image, with the mean of `pred_scores` over its views."""
        merged = []
        for views in data_samples_list:
            sample = views[0]
            sample.pred_scores = torch.stack([view.pred_scores for view in views]).mean(0)
            sample.pred_label = sample.pred_scores.argmax()
            merged.append(sample)
        return merged
