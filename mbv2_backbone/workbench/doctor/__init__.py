"""What tools/doctor.py looks at: the installation, the machine, a config and its data.

Each check is a function of plain facts that returns findings, so that a test can make any illness.
"""
