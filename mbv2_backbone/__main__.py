"""`python -m mbv2_backbone TOOL …`, for launchers such as torchrun: the same as `mbv2 TOOL …`."""

from mbv2_cli import main

main()
