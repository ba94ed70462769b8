"""The losses: pure tensors in, one value per item and plain-float metrics out. One file per algorithm, nothing imported
here.
"""
