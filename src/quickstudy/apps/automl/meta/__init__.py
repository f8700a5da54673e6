"""Meta-learning for AutoML: what results on other tables say about a new one."""
