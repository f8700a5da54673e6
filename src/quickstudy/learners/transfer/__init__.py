"""Transfer learning, beside meta-learning: pretrain on all classes at once, then tune."""
