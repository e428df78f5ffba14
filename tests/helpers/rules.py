"""How boxes are chosen, for tests of each way to choose them."""

from mbv2_backbone.deploy.metadata import Detection

SIZE = (60, 100)  # height, width
RULES = Detection(
    classes=('a', 'b', 'c'),
    palette=((1, 2, 3), (4, 5, 6), (7, 8, 9)),
    score_thr=0.1,
    iou_thr=0.45,
    nms_pre=-1,
    max_per_img=30,
    min_bbox_size=0,
    level_sizes=(48, 24),
)
