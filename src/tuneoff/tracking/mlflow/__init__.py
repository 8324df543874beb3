"""MLflow's view of the record."""
