"""The commands of `tuneoff`, by what they are for. Each imports what it needs when it is called."""
