"""The way in: one ASGI application that turns HTTP requests of AWS clients into calls, and their results into answers."""
