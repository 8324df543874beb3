"""The commands of `tuneoff`, grouped by purpose. Each command imports its dependencies when it is called."""
