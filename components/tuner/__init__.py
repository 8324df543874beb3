"""The tuner step: one method on one data set, with each of the study's seeds."""
