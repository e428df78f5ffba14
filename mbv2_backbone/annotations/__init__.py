"""Read annotation and image files; needs no toolbox."""
