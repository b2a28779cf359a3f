"""Use of trained adapters: predict, label a file, add a task."""
