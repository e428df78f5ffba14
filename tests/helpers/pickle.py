"""An object whose pickle runs code."""

import os


class MakesFolder:
    """Make a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)
