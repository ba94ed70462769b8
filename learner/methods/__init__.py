"""The methods: how each algorithm trains the resident weights.

`method_dispatch` chooses one. `mixed` (dpo, kto and sft too) takes `steps`. `on_policy` (grpo, rloo, ppo) takes
`rounds` of rollouts with a `policy_gradient` and a `critic`. `ilql` has a `q_head_training` on `logged_completions`.
`guards` stop an update that goes too far or fits `held_out` feedback ever worse, and `step_metrics` records its steps.
"""
