# library front and exe blindllama-server
