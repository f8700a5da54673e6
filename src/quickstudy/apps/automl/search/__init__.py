"""The search on one table: trials of pipelines, and the ensemble of the best."""
