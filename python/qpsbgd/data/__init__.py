"""Files, downloads, data sets and problem instances."""
