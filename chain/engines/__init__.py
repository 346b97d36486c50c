"""Engines agree on heights and drive the application; `base` is the seam, `embedded` runs in one process."""
