"""Modules that several tasks share: who uses which units, their trained form, and a further task beside them."""
