"""The learner: turns feedback into versions of the policy.

`loop` conducts: `schedule` decides when an update starts, `update` makes it, `publish` writes the version. `offline`
trains on a file. `data` reads and weighs examples. `model` holds the model and scores with it. `methods` takes the
gradient steps, with the losses of `algorithms`. `reward_model` predicts feedback. `gate` decides what may be served.
"""
