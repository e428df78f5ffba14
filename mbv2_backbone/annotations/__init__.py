"""What label files and image files say; needs no toolbox."""
