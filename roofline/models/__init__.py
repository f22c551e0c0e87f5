"""Models: what a step of inference computes, never on what.

- ``llm.py``: :class:`~roofline.models.llm.LanguageModel`, put together from the blocks of ``attention.py`` and
  ``feed_forward.py``, each of which states its weights and its operators side by side;
- ``forward.py``: what those blocks share, one forward pass and a group of weights;
- ``huggingface.py``: a Hugging Face ``config.json``, as it is, read as a language model by one of ``families.py``;
  ``quantization.py`` reads its dtypes, and ``fields.py`` any field, with the error that names it;
- ``configs/``: the built-in language models, one ``config.json`` each;
- ``recommender.py``: :class:`~roofline.models.recommender.Recommender`, read from a short TOML file by
  ``description.py``, in the words of ``blocks.py``, which plan themselves into ``steps.py``;
- ``recommenders/``: the built-in recommendation models, one file each.
"""
