"""Messages, files, downloads and progress, for every part above."""
