"""Applications: what people do with a meta-trained learner."""
