"""What every family of experiments shares: tasks, results, the runner, training loops."""
