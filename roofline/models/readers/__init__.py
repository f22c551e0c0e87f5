"""Readers of families of language models, by kin: a function a family, gathered in ``roofline/models/families.py``.

A function takes the fields of a ``config.json`` and returns its layers and what else makes the model. What a family's
class in transformers assumes for an absent key is assumed here too.
"""
