"""Trained adapters in use: predictors, label a file, add a task."""
