"""The checks of tools/doctor.py: installation, machine, a config and its data.

Each check is a function of plain facts that returns findings, so a test can simulate any fault.
"""
