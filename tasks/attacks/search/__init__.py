"""How an attack looks for a success: the engines that keep batches full, and one module per search."""
