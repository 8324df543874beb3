"""AutoML systems that train their own models."""
