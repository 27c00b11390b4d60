"""What training, evaluation and prediction share: everything here may import torch, and no data component imports it."""
