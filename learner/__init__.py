"""The learner: turns feedback into versions of the policy."""
