"""The naming schemes of published MobileNetV2 weights, one file each."""
