"""The search for the tasks' loss weights, a study by Optuna that several processes can share."""
