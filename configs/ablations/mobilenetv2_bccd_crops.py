# MobileNetV2 at half width on the cells of BCCD's images, cut out by their boxes, 64 px, from
# scratch: what ssdlite_bccd_crops.py starts from.
# python tools/data.py convert data/BCCD data/BCCD_crops --to folders
# python tools/train.py configs/ablations/mobilenetv2_bccd_crops.py
_base_ = ['../mobilenetv2_sample.py']
data_root = 'data/BCCD_crops/'
data_help = 'Cut it out with: python tools/data.py convert data/BCCD data/BCCD_crops --to folders'
classes = ('Platelets', 'RBC', 'WBC')
palette = [(240, 200, 40), (220, 60, 60), (70, 90, 220)]

model = dict(head=dict(num_classes=len(classes)))
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
max_epochs = 8
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_epochs, T_max=max_epochs),
]
