"""What can be fitted to a table: an encoder of its columns, and models with their options."""
