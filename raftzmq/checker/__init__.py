"""Histories of what clients saw, and whether one database could have shown it to them."""
