"""The image size and findings of the tests of dataset checks."""

SIZE = (80, 60)


def texts(report, level):
    return '\n'.join(str(f) for f in report.findings if f.level == level)
