"""A search as a callback of the ``Trainer`` of transformers and of trl."""
