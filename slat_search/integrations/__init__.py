"""For those who train with other libraries: a search as a callback of the ``Trainer`` of transformers and of trl."""
