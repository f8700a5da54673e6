"""What goes wrong, measured: domain mismatch, scarcity, overfitting, bad examples, cost, diversity.

Each measure returns a `Finding`: its value, interval and threshold, what it means, what to do.
"""
