"""Build, import and describe tables of recorded trainings."""
