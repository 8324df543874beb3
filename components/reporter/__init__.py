"""The reporter step: from the record of a study to its numbers, figures and one HTML page."""
