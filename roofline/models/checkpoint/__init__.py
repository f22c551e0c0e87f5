"""What the weights of a checkpoint take: how each part is stored (``stored``), as its configuration says.

``schemes`` reads the quantisers' configurations as a ``recipe``, which knows modules by the names that checkpoints give
them (``modules``, ``matching``); ``reading`` applies it to the layers of a model; ``files`` looks at what lies beside
the ``config.json``.
"""
