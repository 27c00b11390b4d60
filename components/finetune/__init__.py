"""Fine-tuning of foundation models with TerraTorch."""
