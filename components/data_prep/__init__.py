"""The first step: fetches a data set, checks it, splits it and leaves training-ready arrays in a folder."""
