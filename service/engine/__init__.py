"""Which version answers, when, and for whom. No tensors here: policy/runners generate in processes of their own."""
