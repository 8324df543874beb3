"""The record of a search: an append-only event log, and the search state that the log describes."""
