"""The model in memory and what is computed with it.

`resident` holds the weights, `optimizer` steps them, `distributed` shares the rows among processes. `scoring` and
`features` read the model, `rollouts` samples from it. `reference` keeps the live version's log-probabilities, `anchors`
the base model's distributions. `drift` measures how far the weights moved.
"""
