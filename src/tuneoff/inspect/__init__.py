"""Show a study from its record: status, trials, best, data frames, pages."""
