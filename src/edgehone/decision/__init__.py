"""Turn figures into a choice.

`requirements` loads the gates and weights, `gates` judges each candidate by them, `pareto` finds the Pareto frontier,
`choice` selects the best candidate by the weights (ties go to the smaller one), and `decision` is the record of all of
it. `decide.decide` runs these steps in that order. Nothing in this package depends on how a candidate was built or
measured.
"""
