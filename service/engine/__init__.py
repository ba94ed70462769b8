"""Which version answers, when, and for whom. The thinking parts know no tensors; what generates runs in processes of
policy/runners.
"""
