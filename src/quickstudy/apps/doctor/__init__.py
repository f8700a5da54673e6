"""What may go wrong with a run, its tasks and a support set: `quickstudy doctor`."""
