"""Model-based learners: a network whose state or fast weights learn the task."""
