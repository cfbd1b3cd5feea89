"""What keeps the project itself in order; nothing here is installed with Fourgate."""
