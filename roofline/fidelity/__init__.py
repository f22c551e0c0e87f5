"""Predictions compared with measurements: operators, end-to-end results, and the pages that show both.

``validation`` is the error table of operators, ``end_to_end`` that of published results, ``mtia`` that of published
ratios; ``exclusions`` holds every rule by which a row is left out, ``goals`` what was to be reached, and
``aiconfigurator`` reads the complete data that the shipped sample was thinned from.
"""
