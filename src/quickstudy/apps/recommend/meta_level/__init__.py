"""The level above the base recommenders, which blends what they predict for each user."""
