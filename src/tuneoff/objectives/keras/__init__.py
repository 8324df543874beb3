"""The one room that knows Keras: building a model for a configuration and training it, epoch by epoch, repeatably."""
