"""What training, evaluation and prediction share; may import torch, so no data component imports it."""
