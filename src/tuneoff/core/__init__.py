"""The foundation that every other package may import: problem, space, study, record and store. It imports no framework."""
