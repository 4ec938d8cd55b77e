"""Packages: a bundle in the form that a kind of device or platform takes, with the bundle's proof beside it.

`write.py` makes a package and `verify.py` checks one; `targets/` has a folder for each kind, `target.py` the contract.
"""
