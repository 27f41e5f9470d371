"""Scores of a clustering; `labels.py` is the only reader of labels in the package."""
