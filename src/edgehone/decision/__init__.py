"""From figures to a choice, in this order:

`requirements` (the gates and weights, as data) → `gates` (a verdict for each) → `pareto` (what nothing
else beats in everything) → `choice` (the best by weights, ties to the smaller) → `decision` (the record
of it all). `decide.decide` does them in that order. Nothing here knows how a candidate was built or measured.
"""
