"""Shared helpers: messages, files, downloads, progress bars."""
