"""What runs inside a slot: engines behind one small interface. The learner's rollouts, the gate and simulations
generate with the same ones.
"""
