"""The first pipeline step: fetch a data set, check it, split it and write arrays that are ready for training."""
