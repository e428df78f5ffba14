"""What the doctor found."""

from mbv2_backbone.workbench.checks.finding import Finding


def only(findings, level, *parts):
    """Check the only finding of a check: its level, and parts of its message and fix."""
    findings = [findings] if isinstance(findings, Finding) else findings
    assert [finding.level for finding in findings] == [level], findings
    text = str(findings[0])
    for part in parts:
        assert part in text
    assert bool(findings[0].fix) == (level != 'ok')
