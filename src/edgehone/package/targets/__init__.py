"""One folder for each built-in target; the entry point group `edgehone.targets` names their modules."""
