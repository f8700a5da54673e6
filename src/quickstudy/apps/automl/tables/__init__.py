"""What a raw table holds: how its columns are written, its meta-features, public tables."""
