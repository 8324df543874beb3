"""The report: figures, HTML and Markdown from the numbers of `analysis`."""
