"""What bytes look like: the only place that knows the layout of a message."""
