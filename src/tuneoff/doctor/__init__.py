"""Check the machine and the cluster before a study runs."""
