"""The service: batches over HTTP, for several users at once."""
