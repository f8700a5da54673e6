"""Model-based learners: a network whose activations or memory take in the support set."""
