"""Image sets of users: found in a folder, checked, converted, shown."""
