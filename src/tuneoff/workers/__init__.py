"""Child processes, and the process that hosts a method."""
