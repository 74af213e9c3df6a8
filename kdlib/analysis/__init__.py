"""What the kept runs of a study say, for notebooks and pages alike: groups of seeds, claims and their tests, the thesis's numbers, tables."""
