"""Reading documents: loaders by type, encodings, chunking, and the processes that isolate them."""
