"""How an attack looks for a success: the engine that keeps batches full, and one module per search."""
