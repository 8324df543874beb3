"""AutoML systems that train models of their own."""
