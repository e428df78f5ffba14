"""The files below a folder."""


def contents(root, pattern='*'):
    """Return the bytes of each file below a folder, by its relative path."""
    files = (path for path in sorted(root.rglob(pattern)) if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
