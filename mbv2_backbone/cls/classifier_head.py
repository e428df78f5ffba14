"""The two last layers of the MobileNetV2 paper's network: pooling and a linear classifier."""

from __future__ import annotations

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


@MODELS.register_module()
class ClassifierHead(BaseModule):
    """Global average pooling, dropout and a linear layer (paper, table 2, the last two rows).

    Args:
        in_channels: Channels of the last feature map. Below width 1 they stay 1280.
        num_classes: Classes; there is none for the background.
        dropout_ratio: Share of the pooled features that training sets to 0.
        label_smoothing: Share of a target that goes to all classes evenly; in [0, 1].
        init_cfg: mmengine's weight initialisation; `None` means normal with std 0.01.

    Raises:
        ValueError: If there are no classes, or the smoothing is out of range.
    """

    def __init__(
        self,
        *,
        in_channels: int = 1280,
        num_classes: int = 1000,
        dropout_ratio: float = 0.2,
        label_smoothing: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        if num_classes < 1 or not 0 <= label_smoothing <= 1:
            raise ValueError(
                f'ClassifierHead needs num_classes of 1 or more and label_smoothing within 0 and '
                f'1, got {num_classes} and {label_smoothing}'
            )
        super().__init__(init_cfg or dict(type='Normal', layer='Linear', std=0.01))
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.dropout = nn.Dropout(dropout_ratio)
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Return the logits `(N, num_classes)` of the last feature map `(N, C, H, W)`."""
        return self.fc(self.dropout(feats[-1].mean((2, 3))))

    def loss(self, feats: tuple[Tensor, ...], targets: Tensor) -> dict[str, Tensor]:
        """Compute the softmax cross entropy.

        Args:
            feats: Feature maps; the last one is used.
            targets: Labels `(N,)`, long, or the share of each class `(N, num_classes)`, float.
        """
        logits = self(feats)
        return dict(loss_cls=F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing))
