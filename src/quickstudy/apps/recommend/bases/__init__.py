"""Base recommenders: from what is known of a user to a score of every item."""
