"""`mien serve`: one model behind a web page, REST and WebSocket, on FastAPI."""
