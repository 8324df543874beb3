"""The KFP pipeline of a study, and two ways to run it: on this machine and on a cluster."""
