"""A pipeline file, run stage by stage: `edgehone pipeline`.

    pipeline file + options → plan (stages with their settings) → run each stage, or skip it → results

`document.py` has the types of the file and reads it; the JSON schema is generated from the same types. `stage.py` is
what a stage is, `stages/` has one file for each. A stage does its work by edgehone's own verbs, in child processes
that end with this one (`child.py`). `record.py` keeps the results in SQLite: a stage whose inputs, settings and code
are those of a passed result is skipped (`keys.py`). `run.py` is the loop over the stages. `reports/` writes what
people and CI systems read, `ci/` the workflows that run a pipeline.
"""
