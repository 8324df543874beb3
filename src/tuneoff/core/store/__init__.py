"""Where a study's files live: a folder or an S3 bucket behind one protocol, and the study kept in it."""
