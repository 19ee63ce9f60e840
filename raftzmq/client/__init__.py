"""The client: what it remembers (session), how it reaches the database, what applications call."""
