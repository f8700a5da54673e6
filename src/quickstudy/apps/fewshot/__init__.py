"""Learning new classes or a new function from a few examples."""
